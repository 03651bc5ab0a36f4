/* A Modbus RTU meter made of libmodbus alone (tests only).
 *
 * In:  DEVICE BAUD PARITY UNIT on the command line; on stdin lines "holding FIRST COUNT" or "coils FIRST COUNT".
 * Out: on stdout "ready LIBRARY-VERSION", "request HEX" for each frame that libmodbus takes for one of its own, and
 *      "values V V ..." for each line of stdin: what its memory holds now, asked past the serial line.
 * Ends with its stdin (0), or when the line is gone (1).
 *
 * Coils k % 3 == 0, discrete inputs k % 5 in (1, 2), holding registers 40000 + 7 k, input registers 10000 + 11 k; and
 * numbers of several registers from 300 on (see VALUES below). */

#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

enum { BITS = 64, REGISTERS = 400, VALUES = 300 };
/* Holding registers that answer in a way of their own when they are the first of a read. */
enum { BUSY = 0x7000, SILENT = 0x7001, SLOW = 0x7002 };

/* High word first. What libmodbus offers (modbus_set_float_abcd) depends on its version. */
static void set_float(uint16_t *at, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    MODBUS_SET_INT32_TO_INT16(at, 0, bits);
}

static void fill(modbus_mapping_t *map)
{
    for (int k = 0; k < BITS; k++) {
        map->tab_bits[k] = k % 3 == 0;
        map->tab_input_bits[k] = k % 5 == 1 || k % 5 == 2;
    }
    for (int k = 0; k < REGISTERS; k++) {
        map->tab_registers[k] = (uint16_t) (40000 + 7 * k);
        map->tab_input_registers[k] = (uint16_t) (10000 + 11 * k);
    }
    uint16_t *at = map->tab_input_registers + VALUES;
    set_float(at, 230.125f);
    set_float(at + 2, -12.3456f);
    set_float(at + 4, 49.98f);
    MODBUS_SET_INT32_TO_INT16(at, 6, 123456789);
    MODBUS_SET_INT32_TO_INT16(at, 8, -2500);
    MODBUS_SET_INT64_TO_INT16(at, 10, (int64_t) 9876543210123LL);
    at[14] = (uint16_t) -321;
    set_float(map->tab_registers + VALUES, 1234.5f);
}

static void say_request(const uint8_t *query, int length)
{
    printf("request ");
    for (int k = 0; k < length; k++)
        printf("%02x", query[k]);
    printf("\n");
}

static void answer(modbus_t *context, const uint8_t *query, int length, modbus_mapping_t *map)
{
    if (query[1] == MODBUS_FC_READ_HOLDING_REGISTERS) {
        switch (query[2] << 8 | query[3]) {
        case BUSY:
            modbus_reply_exception(context, query, MODBUS_EXCEPTION_SLAVE_OR_SERVER_BUSY);
            return;
        case SILENT:
            return;
        case SLOW:
            usleep(150000);
            modbus_reply_exception(context, query, MODBUS_EXCEPTION_ACKNOWLEDGE);
            return;
        }
    }
    modbus_reply(context, query, length, map);
}

/* One line of stdin; 0 at its end. */
static int command(const modbus_mapping_t *map)
{
    char line[64], table[16];
    int first, count;

    if (!fgets(line, sizeof line, stdin))
        return 0;
    if (sscanf(line, "%15s %d %d", table, &first, &count) != 3) {
        fprintf(stderr, "not a command: %s", line);
        exit(2);
    }
    printf("values");
    for (int k = first; k < first + count; k++)
        printf(" %d", strcmp(table, "coils") ? map->tab_registers[k] : map->tab_bits[k]);
    printf("\n");
    return 1;
}

int main(int count, char **words)
{
    if (count != 5) {
        fprintf(stderr, "usage: %s DEVICE BAUD PARITY UNIT\n", words[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* or select() would not see what lies in its buffer */
    modbus_t *context = modbus_new_rtu(words[1], atoi(words[2]), words[3][0], 8, 1);
    modbus_mapping_t *map = modbus_mapping_new(BITS, BITS, REGISTERS, REGISTERS);
    if (!context || !map || modbus_set_slave(context, atoi(words[4])) || modbus_connect(context)) {
        fprintf(stderr, "%s: %s\n", words[1], modbus_strerror(errno));
        return 1;
    }
    /* For so long it waits before it answers what it does not know, 0.5 s by default. */
    modbus_set_response_timeout(context, 0, 50000);
    /* And for so long for the rest of a frame, 0.5 s by default, in which it would swallow the next request as well. */
    modbus_set_byte_timeout(context, 0, 50000);
    modbus_set_error_recovery(context, MODBUS_ERROR_RECOVERY_PROTOCOL);
    fill(map);
    printf("ready %s\n", LIBMODBUS_VERSION_STRING);
    int line = modbus_get_socket(context);
    for (;;) {
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(STDIN_FILENO, &readable);
        FD_SET(line, &readable);
        if (select(line + 1, &readable, NULL, NULL, NULL) < 0)
            return 1;
        if (FD_ISSET(STDIN_FILENO, &readable) && !command(map))
            return 0;
        if (FD_ISSET(line, &readable)) {
            uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
            int length = modbus_receive(context, query);
            if (length > 0) {
                say_request(query, length);
                answer(context, query, length, map);
            } else if (length < 0 && (errno == EIO || errno == ECONNRESET)) {
                return 1;
            }
        }
    }
}
