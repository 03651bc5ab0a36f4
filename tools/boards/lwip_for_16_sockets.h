// lwIP with room for meterport's 16 sockets, in a port whose lwIP has static pools (rp2). One file for the board that
// users flash (METERPORT_PICO_W) and the one that the tests run (tools/emulator).

// Eight more than sockets: an evicted connection stays in FIN_WAIT_2 until its peer notices.
#ifndef MEMP_NUM_TCP_PCB
#define MEMP_NUM_TCP_PCB (24)
#endif

// Output of all connections comes from one pool: four browsers that do not read must not use it up (4 x 3200, with what lwIP
// adds, of 20000).
#define MEM_SIZE (20000)
#define TCP_MSS (800)
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#define MEMP_NUM_TCP_SEG (64)
#define PBUF_POOL_SIZE (24)
