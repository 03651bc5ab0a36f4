// Found before the port's own (mpconfigboard.cmake): what MicroPython says without asking is said again behind it.
#include_next "lwipopts.h"

// The firmware answers for the host name itself and lists its services (services/finder/responder.py): lwIP's responder
// would hold port 5353, and lists nothing.
#undef LWIP_MDNS_RESPONDER
#define LWIP_MDNS_RESPONDER 0
// Six of the firmware (firmware/board/rp2.py), and DHCP's client and server.
#undef MEMP_NUM_UDP_PCB
#define MEMP_NUM_UDP_PCB (8)
