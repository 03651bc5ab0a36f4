// Stands for the driver's debugging.
#pragma once
#define logic_debug_init()
#define logic_debug_set(pin, value)
