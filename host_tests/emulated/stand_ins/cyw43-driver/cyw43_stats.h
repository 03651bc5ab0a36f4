// Stands for the driver's counters.
#pragma once
#define CYW43_STAT_INC(name) (void)0
