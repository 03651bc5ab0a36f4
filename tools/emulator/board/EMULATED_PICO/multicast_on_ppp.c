// lwIP takes multicast only where an interface says that it can, and its PPP does not say so; Wi-Fi and W5500 do. Groups
// are joined by messages that nobody reads at the other end of this line: it passes everything on.
#include "lwip/igmp.h"
#include "lwip/netif.h"

NETIF_DECLARE_EXT_CALLBACK(on_change)

static void netif_changed(struct netif *netif, netif_nsc_reason_t reason, const netif_ext_callback_args_t *args) {
    (void)args;
    if (reason & LWIP_NSC_NETIF_ADDED) {
        netif->flags |= NETIF_FLAG_IGMP;
        igmp_start(netif);
    }
}

void emulated_pico_startup(void) {
    netif_add_ext_callback(&on_change, netif_changed);
}
