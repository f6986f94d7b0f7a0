// L-CNN fields of complex matrices: any SU(N), and SU(2) where weights are complex.
#define FULL_MATRICES 1
#include "signatures.h"
#include "lcnn.h"
