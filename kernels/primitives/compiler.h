// Where a function may run, said once for both compilers. No includes: host code may use this file alone.
#ifndef JINDOU_PRIMITIVES_COMPILER_H
#define JINDOU_PRIMITIVES_COMPILER_H

#if defined(__CUDACC__)
#define JD_DEVICE __device__
#define JD_HOST_DEVICE __host__ __device__
#define JD_INLINE __forceinline__
#else
#define JD_DEVICE
#define JD_HOST_DEVICE
#define JD_INLINE inline
#endif

#endif
