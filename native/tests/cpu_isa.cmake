# The operator tests once more for each instruction set of the CPU backend. `operators_*` itself runs the best one.

# jindou_isa_tests(<suffix> <environment...>), of the tests in isa_tests
function(jindou_isa_tests suffix)
  foreach(name ${isa_tests})
    add_test(NAME ${name}_${suffix} COMMAND ${name})
    set_property(TEST ${name}_${suffix} PROPERTY ENVIRONMENT ASAN_OPTIONS=allocator_may_return_null=1
                 UBSAN_OPTIONS=print_stacktrace=1 JINDOU_TEST_DEVICES=cpu ${ARGN})
  endforeach()
endfunction()

set(every_operator_test)
foreach(file ${operator_tests})
  get_filename_component(name ${file} NAME_WE)
  list(APPEND every_operator_test ${name})
endforeach()

# The kernels are one source over the vectors of simd/. Sanitizers see all of it with the vectors of the best two instruction sets; the
# generic vectors, plain loops over arrays, in the operators that take no longer than seconds, which use every function of them.
set(isa_tests ${every_operator_test})
if(JINDOU_SANITIZE)
  foreach(long beam_attention decode_attention hstu_attention longer_attention paged_hstu_attention properties
               stca_attention target_attention)
    list(REMOVE_ITEM isa_tests operators_${long})
  endforeach()
endif()
jindou_isa_tests(generic JINDOU_CPU_ISA=generic)
set(isa_tests ${every_operator_test})

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  # On a CPU with AVX-512 the best one is not this one.
  execute_process(COMMAND grep -q -w avx512f /proc/cpuinfo RESULT_VARIABLE no_avx512)
  if(no_avx512 EQUAL 0)
    jindou_isa_tests(avx2 JINDOU_CPU_ISA=avx2)
  endif()
  # AVX-512 without bf16 is the source of AVX-512 with it, except for how bf16 becomes f32. Sanitizers see it with bf16, which is
  # the best one, and that conversion in AVX2; where the best one has no bf16 it is this one, and it has run already.
  execute_process(COMMAND grep -q -w avx512_bf16 /proc/cpuinfo RESULT_VARIABLE no_avx512bf16)
  if(no_avx512bf16 EQUAL 0 AND NOT JINDOU_SANITIZE)
    jindou_isa_tests(avx512 JINDOU_CPU_ISA=avx512)
  endif()

  # The kernels of AVX-512 with bf16 (which include those without) carried out by AVX2 through SIMDe, in a libjindou.so of
  # their own that takes the place of the real one. Not where the CPU itself has bf16: `operators_*` runs that very source there.
  # Not under sanitizers, which take GCC minutes in SIMDe's functions and see the same kernel source in the other instruction sets.
  set(JINDOU_TEST_EMULATED_AVX512 AUTO CACHE STRING "Test AVX-512 carried out by AVX2: AUTO (where the CPU lacks AVX-512 with bf16) or ON")
  include(CheckIncludeFileCXX)
  check_include_file_cxx(simde/x86/avx512.h JINDOU_HAS_SIMDE)
  if(JINDOU_SANITIZE OR (JINDOU_TEST_EMULATED_AVX512 STREQUAL AUTO AND no_avx512bf16 EQUAL 0))
    set(emulate_avx512 OFF)
  else()
    set(emulate_avx512 ON)
  endif()
  if(JINDOU_HAS_SIMDE AND emulate_avx512)
    file(GLOB cpu_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/native/cpu/*.cpp)
    file(GLOB cpu_isa_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/native/cpu/isa/*.cpp)
    # SIMDe's 512-bit functions take GCC minutes at -O3.
    jindou_cpu_isa(jindou_cpu_emulated_avx512 avx512bf16 Avx512Bf16 avx512.h -O1 -mavx2 -mfma -mf16c -Wno-psabi)
    target_compile_definitions(jindou_cpu_emulated_avx512 PRIVATE JINDOU_CPU_EMULATED_AVX512)
    add_library(jindou_emulated_avx512 SHARED ${cpu_sources} $<TARGET_OBJECTS:jindou_core> $<TARGET_OBJECTS:jindou_cpu_generic>
                $<TARGET_OBJECTS:jindou_cpu_avx2> $<TARGET_OBJECTS:jindou_cpu_emulated_avx512>)
    target_include_directories(jindou_emulated_avx512 PRIVATE ${PROJECT_SOURCE_DIR}/kernels)
    target_link_libraries(jindou_emulated_avx512 PUBLIC jindou_headers PRIVATE ${CMAKE_DL_LIBS})
    target_compile_definitions(jindou_emulated_avx512 PRIVATE JINDOU_CPU_EMULATED_AVX512)
    jindou_shared_options(jindou_emulated_avx512 ${PROJECT_SOURCE_DIR}/native/core/libjindou.map)
    set_target_properties(jindou_emulated_avx512 PROPERTIES OUTPUT_NAME jindou
                          LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib/emulated_avx512)
    jindou_isa_tests(emulated_avx512 JINDOU_CPU_ISA=avx512bf16 JINDOU_TEST_EMULATED=1
                     LD_LIBRARY_PATH=${CMAKE_BINARY_DIR}/lib/emulated_avx512)
  elseif(emulate_avx512)
    message(STATUS "The tests of emulated AVX-512 need SIMDe (Debian: libsimde-dev): left out")
  endif()

  # What is compiled for one instruction set must not be linked into anything else: no symbol but its table (see simd/simd.h).
  # Sanitizers add symbols of their own.
  if(NOT JINDOU_SANITIZE)
    set(isa_objects)
    foreach(isa ${JINDOU_CPU_ISAS})
      list(APPEND isa_objects $<TARGET_OBJECTS:${isa}>)
    endforeach()
    add_test(NAME cpu_isa_objects_export_tables_only
             COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} "-DOBJECTS=${isa_objects}"
                     -P ${CMAKE_CURRENT_SOURCE_DIR}/cpu_isa_symbols.cmake)
  endif()
endif()
