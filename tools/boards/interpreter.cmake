# MicroPython's interpreter, faster: for all boards of the rp2 port, those that users flash and the one that the tests run
# (tools/emulator).

# The interpreter keeps, by a hash of each name, where it was found last. In the 128 places of a stock build, of which
# names have every second, those of a request displace each other. A place is a byte of RAM.
list(APPEND MICROPY_DEF_BOARD MICROPY_OPT_MAP_LOOKUP_CACHE_SIZE=1024)

# Compiled for speed, as the port compiles map.c and vm.c, where all else is for size: what each call of a function and
# each turn of the loop goes through.
set_source_files_properties(
    ${MICROPY_DIR}/extmod/machine_uart.c
    ${MICROPY_DIR}/extmod/modlwip.c
    ${MICROPY_DIR}/extmod/modselect.c
    ${MICROPY_DIR}/py/argcheck.c
    ${MICROPY_DIR}/py/bc.c
    ${MICROPY_DIR}/py/gc.c
    ${MICROPY_DIR}/py/obj.c
    ${MICROPY_DIR}/py/objarray.c
    ${MICROPY_DIR}/py/objboundmeth.c
    ${MICROPY_DIR}/py/objfun.c
    ${MICROPY_DIR}/py/objgenerator.c
    ${MICROPY_DIR}/py/objlist.c
    ${MICROPY_DIR}/py/objtype.c
    ${MICROPY_DIR}/py/pairheap.c
    ${MICROPY_DIR}/py/qstr.c
    ${MICROPY_DIR}/py/runtime.c
    ${MICROPY_DIR}/py/scheduler.c
    ${MICROPY_DIR}/py/stream.c
    ${MICROPY_DIR}/ports/rp2/mphalport.c
    ${MICROPY_DIR}/ports/rp2/pendsv.c
    ${PICO_SDK_PATH}/src/common/pico_sync/mutex.c
    PROPERTIES COMPILE_OPTIONS "-O2"
)
