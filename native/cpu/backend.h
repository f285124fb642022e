// The entry of the CPU backend, which is linked into libjindou.so.
#ifndef JINDOU_CPU_BACKEND_H
#define JINDOU_CPU_BACKEND_H

#include "core/backend.h"

extern "C" const jd_backend *jd_cpu_backend(void);

#endif
