// Stands for the driver's countries.
#pragma once
#define CYW43_COUNTRY(a, b, revision) ((unsigned char)(a) | (unsigned char)(b) << 8 | (revision) << 16)
