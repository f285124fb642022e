// All device primitives. Kernels include this and nothing of CUDA's.
#ifndef JINDOU_PRIMITIVES_PRIMITIVES_H
#define JINDOU_PRIMITIVES_PRIMITIVES_H

#include "primitives/async_copy.h"
#include "primitives/atomic.h"
#include "primitives/bits.h"
#include "primitives/bulk_copy.h"
#include "primitives/compiler.h"
#include "primitives/dim3.h"
#include "primitives/float8.h"
#include "primitives/index.h"
#include "primitives/keep.h"
#include "primitives/launch.h"
#include "primitives/math.h"
#include "primitives/matrix.h"
#include "primitives/mbarrier.h"
#include "primitives/memory.h"
#include "primitives/site.h"
#include "primitives/sync.h"
#include "primitives/tensor_map.h"
#include "primitives/types.h"
#include "primitives/warp.h"
#include "primitives/warpgroup.h"

#endif
