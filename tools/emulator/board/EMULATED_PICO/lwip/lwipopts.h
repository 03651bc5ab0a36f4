// Found before the port's own: what it says is said first by the variant.
#include "variant.h"
#include_next "lwipopts.h"
