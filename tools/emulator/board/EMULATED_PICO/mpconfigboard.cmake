set(PICO_BOARD "pico")
set(PICO_PLATFORM "rp2040")
set(MICROPY_PY_LWIP ON)
set(MICROPY_C_HEAP_SIZE 4096)  # lwIP's PPP allocates from the C heap
list(APPEND MICROPY_DEF_BOARD
    MICROPY_PY_NETWORK=1
    MICROPY_PY_NETWORK_PPP_LWIP=1
    PICO_FLASH_SIZE_BYTES=4194304  # a Pico has half of it, too little for an image and the firmware as files
)

include(${CMAKE_CURRENT_LIST_DIR}/interpreter.cmake)  # build.py puts it there: that of the boards that users flash

set(MICROPY_SOURCE_BOARD ${CMAKE_CURRENT_LIST_DIR}/multicast_on_ppp.c)

# tools/emulator/build.py writes variant.h, what it includes, lwipopts.h, memmap.ld and manifest.py there. Only what needs variant.h sees it,
# which is lwIP and the three files with the board's name: the next variant compiles 80 files of the 500.
set(VARIANT_DIR ${CMAKE_BINARY_DIR}/variant)
include_directories(BEFORE ${CMAKE_CURRENT_LIST_DIR}/lwip ${VARIANT_DIR})
set_source_files_properties(
    ${MICROPY_DIR}/extmod/modos.c
    ${MICROPY_DIR}/py/modsys.c
    ${MICROPY_DIR}/shared/runtime/pyexec.c
    PROPERTIES COMPILE_OPTIONS "-include;variant.h"
)
set(MICROPY_FROZEN_MANIFEST ${VARIANT_DIR}/manifest.py)

# The port sets its own script further below.
cmake_language(DEFER CALL pico_set_linker_script ${MICROPY_TARGET} ${VARIANT_DIR}/memmap.ld)
