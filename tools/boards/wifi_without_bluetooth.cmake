# The Wi-Fi of a Pico W or Pico 2 W without its Bluetooth.
set(MICROPY_PY_LWIP ON)
set(MICROPY_PY_NETWORK_CYW43 ON)

# The driver's bus needs pico/cyw43_driver.h, which comes with Bluetooth only (1.25 to 1.28). SYSTEM: searched last, or
# cyw43_configport.h beside it would be taken for MicroPython's own.
include_directories(SYSTEM ${MICROPY_DIR}/lib/pico-sdk/src/rp2_common/pico_cyw43_driver/include)
