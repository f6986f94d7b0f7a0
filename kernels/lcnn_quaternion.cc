// L-CNN fields of SU(2) in the real quaternions: real combinations and products of SU(2) matrices stay there.
#include "signatures.h"
#include "lcnn.h"
