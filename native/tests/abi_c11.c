/* The headers as a C11 compiler sees them (built with -std=c11 -pedantic -Werror), and a call through them. */
#include <jindou/jindou.h>

#include <string.h>

int abi_c11_calls_the_library(void) {
  jd_device device = 0;
  jd_error error = {.struct_size = sizeof error};
  jd_device_options options = {.struct_size = sizeof options, .num_threads = 1};
  if (jd_device_open("cpu", &options, &device, &error) != JD_OK) return 1;
  if (jd_noop(device, &error) != JD_OK) return 2;
  if (jd_device_close(device, &error) != JD_OK) return 3;
  if (jd_noop(device, &error) != JD_CLOSED) return 4;
  if (error.status != JD_CLOSED || strstr(error.message, "'device'") == NULL) return 5;
  return strcmp(jd_version(), "0.1.0") == 0 ? 0 : 6;
}
