// Stands for the driver's own header.
#pragma once
#include "cyw43_internal.h"
