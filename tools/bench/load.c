/* A load generator for request and reply over TCP on Linux, written for tools/bench/load.py.
 *
 * In:  options (usage() lists them); a file with one request and a file with the one right answer to it.
 * Out: one JSON object on stdout and exit code 0; or a line on stderr and 1 when an answer was wrong, missing or too
 *      late for --timeout, 2 when an option is wrong.
 *
 * Every byte of every answer is compared. With --id the first two bytes of a request are a number of its own (the
 * transaction identifier of Modbus TCP), which must come back.
 *
 * Closed loop: each client asks again as soon as it has its answer. With --rate each client has moments, evenly spaced,
 * at which it wants to ask; a request that cannot leave yet because the answer before it is missing leaves when it
 * can, and its latency counts from the moment at which it should have left, so that a server that stops is not
 * forgiven the requests that it has prevented (coordinated omission). `lag` is how late the requests left in fact, for
 * which the machine may be the reason; `served` is the time from there to the answer.
 *
 * With --reopen a connection that the server ends is opened again, and the request under way on it asked again, as a
 * client does that more of its kind are pushed out than there is room for; its latency counts from the first time.
 *
 * One thread and one epoll, which a server on the same core can share the core with: nothing here waits busily.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

enum {
    CLIENTS_MAX = 64,
    MESSAGE_MAX = 1 << 20,  /* bytes of a request or an answer */
    ID_SIZE = 2,
    TIMER = CLIENTS_MAX     /* in epoll's data, beside the numbers of clients */
};

struct client {
    int fd;
    bool busy;        /* a request is under way */
    bool ending;      /* its answer has come, and the end of the connection is to follow */
    size_t got;       /* bytes of the answer */
    uint64_t due;     /* ns: when the next request should leave; of the request under way once it has left */
    uint64_t since;   /* ns: from when the latency of the request under way counts */
    uint64_t left;    /* ns: when it left */
    uint64_t asked, answered;
    uint16_t id;
};

static struct {
    struct sockaddr_in server;
    int clients;
    double seconds, rate;
    uint64_t requests, late_ns, timeout_ns;
    bool with_id, reconnect, reopen;
    uint8_t *request, *answer;
    size_t request_size, answer_size;
} options = {.clients = 1, .timeout_ns = 5000000000u, .late_ns = 20000000u};

static struct client clients[CLIENTS_MAX];
static struct histogram latency, lag, served;
static uint64_t reopened, progress_ns;  /* times; when the last answer came */
static uint64_t late, end_ns, each;  /* each: requests of a client; 0 when time alone ends the run */
static int poller, timer = -1;

static void fail(const char *what) {
    fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static void fail_errno(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

/* One client */

static void watch(int number, int fd, int operation) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)number};
    if (epoll_ctl(poller, operation, fd, &event))
        fail_errno("epoll_ctl");
}

static void open_connection(int number) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct timeval limit = {.tv_sec = (time_t)(options.timeout_ns / 1000000000u)};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit)
        || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one))
        fail_errno("socket");
    if (connect(fd, (struct sockaddr *)&options.server, sizeof options.server))
        fail_errno("connect");
    clients[number].fd = fd;
    watch(number, fd, EPOLL_CTL_ADD);
}

static void send_request(struct client *c) {
    if (options.with_id) {
        options.request[0] = (uint8_t)(c->id >> 8);
        options.request[1] = (uint8_t)c->id;
    }
    c->got = 0;
    ssize_t sent = send(c->fd, options.request, options.request_size, MSG_NOSIGNAL);
    if (sent < 0 && options.reopen && (errno == EPIPE || errno == ECONNRESET))
        return;  /* reading will tell */
    if (sent != (ssize_t)options.request_size)  /* requests are much shorter than a socket's buffer */
        fail_errno("send");
}

static void ask(int number, uint64_t now) {
    struct client *c = &clients[number];
    if (c->fd < 0)
        open_connection(number);
    c->id++;
    send_request(c);
    c->since = c->left = now;
    if (options.rate > 0) {
        note(&lag, now - c->due);
        c->since = c->due;
        c->due += (uint64_t)(1e9 / options.rate);
    }
    c->asked++;
    c->busy = true;
}

static bool wants_more(const struct client *c, uint64_t now) {
    return each ? c->asked < each : now < end_ns;
}

static bool is_due(const struct client *c, uint64_t now) {
    return options.rate <= 0 || c->due <= now;
}

static void complain(const struct client *c, const uint8_t *got, size_t size) {
    fprintf(stderr, "load: wrong answer to request %" PRIu64 " at byte %zu:", c->asked, c->got);
    for (size_t k = 0; k < size && k < 32; k++)
        fprintf(stderr, " %02x", got[k]);
    fprintf(stderr, "\n");
    exit(1);
}

/* Compares a piece of the answer with the expected bytes. */
static void check(struct client *c, const uint8_t *got, size_t size) {
    if (size > options.answer_size - c->got)
        complain(c, got, size);
    for (size_t k = 0; options.with_id && c->got + k < ID_SIZE && k < size; k++)
        if (got[k] != (uint8_t)(c->got + k ? c->id : c->id >> 8))
            complain(c, got, size);
    size_t skip = options.with_id && c->got < ID_SIZE ? ID_SIZE - c->got : 0;
    if (skip < size && memcmp(got + skip, options.answer + c->got + skip, size - skip))
        complain(c, got, size);
    c->got += size;
}

static void answered(int number) {
    struct client *c = &clients[number];
    uint64_t now = now_ns();
    note(&latency, now - c->since);
    note(&served, now - c->left);
    late += now - c->since > options.late_ns;
    progress_ns = now;
    c->answered++;
    c->busy = false;
    c->ending = options.reconnect;
    if (!c->ending && wants_more(c, now) && is_due(c, now))
        ask(number, now);
}

/* The server has ended a connection that is still needed. */
static void reopen(int number) {
    struct client *c = &clients[number];
    if (now_ns() - progress_ns > options.timeout_ns)
        fail("no answer, only ends of connections");
    reopened++;
    close(c->fd);
    open_connection(number);
    if (c->busy)
        send_request(c);
}

static void ended(int number) {
    struct client *c = &clients[number];
    if (!c->ending && options.reopen) {
        reopen(number);
        return;
    }
    if (!c->ending)
        fail(c->busy ? "the server ended the connection in an answer" : "the server ended the connection");
    close(c->fd);  /* which takes it out of the epoll as well */
    c->fd = -1;
    c->ending = false;
    uint64_t now = now_ns();
    if (wants_more(c, now) && is_due(c, now))
        ask(number, now);
}

static void readable(int number) {
    static uint8_t piece[65536];
    struct client *c = &clients[number];
    ssize_t got = recv(c->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got < 0 && !(options.reopen && errno == ECONNRESET))
        fail_errno("recv");
    if (got <= 0) {
        ended(number);
        return;
    }
    if (!c->busy)
        complain(c, piece, (size_t)got);
    check(c, piece, (size_t)got);
    if (c->got == options.answer_size)
        answered(number);
}

/* All clients */

/* Asks where it is due, and sets the timer to the next moment at which it will be. Who is still waiting for an answer
 * then asks when it has come. */
static void ask_due(void) {
    uint64_t now = now_ns(), next = UINT64_MAX;
    for (int k = 0; k < options.clients; k++) {
        struct client *c = &clients[k];
        if (!c->busy && !c->ending && wants_more(c, now) && is_due(c, now))
            ask(k, now);
        if (wants_more(c, now) && c->due > now && c->due < next)
            next = c->due;
    }
    struct itimerspec at = {0};  /* 0: never */
    if (next != UINT64_MAX) {
        at.it_value.tv_sec = (time_t)(next / 1000000000u);
        at.it_value.tv_nsec = (long)(next % 1000000000u);
    }
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL))
        fail_errno("timerfd_settime");
}

static bool all_done(void) {
    uint64_t now = now_ns();
    for (int k = 0; k < options.clients; k++)
        if (clients[k].busy || clients[k].ending || wants_more(&clients[k], now))
            return false;
    return true;
}

static uint64_t run(void) {
    uint64_t begin = progress_ns = now_ns();
    end_ns = begin + (uint64_t)(options.seconds * 1e9);
    if (options.rate > 0) {
        /* Clients that know nothing of each other: phases of the golden ratio, which never bunch and never line up. */
        double phase = 0;
        for (int k = 0; k < options.clients; k++, phase += 0.6180339887)
            clients[k].due = begin + (uint64_t)((phase - (double)(int)phase) * 1e9 / options.rate);
        ask_due();
    } else {
        for (int k = 0; k < options.clients; k++)
            ask(k, begin);
    }
    struct epoll_event events[CLIENTS_MAX + 1];
    while (!all_done()) {
        int count = epoll_wait(poller, events, CLIENTS_MAX + 1, (int)(options.timeout_ns / 1000000u));
        if (count < 0 && errno != EINTR)
            fail_errno("epoll_wait");
        if (!count)
            fail("no answer");
        for (int k = 0; k < count; k++) {
            if (events[k].data.u32 != TIMER) {
                readable((int)events[k].data.u32);
                continue;
            }
            uint64_t times;
            if (read(timer, &times, sizeof times) != sizeof times)
                fail_errno("timerfd");
        }
        if (options.rate > 0)
            ask_due();
    }
    return now_ns() - begin;
}

/* What goes in and out */

static void print_results(uint64_t passed_ns, uint64_t cpu_ns) {
    printf("{\"requests\": %" PRIu64 ", \"seconds\": %.6f, ", latency.count, (double)passed_ns / 1e9);
    printf("\"cpu_s\": %.6f, ", (double)cpu_ns / 1e9);
    print_histogram("latency_us", &latency);
    print_histogram("served_us", &served);
    if (options.rate > 0)
        print_histogram("lag_us", &lag);
    printf("\"late\": %" PRIu64 ", \"reopened\": %" PRIu64 ", \"clients\": [", late, reopened);
    for (int k = 0; k < options.clients; k++)
        printf("%s%" PRIu64, k ? ", " : "", clients[k].answered);
    printf("]}\n");
}

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = malloc(MESSAGE_MAX + 1);
    if (!file || !data)
        fail_errno(path);
    *size = fread(data, 1, MESSAGE_MAX + 1, file);
    fclose(file);
    if (!*size || *size > MESSAGE_MAX)
        fail("a request or an answer has 1 byte to 1 MiB");
    return data;
}

static void usage(void) {
    fputs("usage: load --port N --request FILE --answer FILE (--seconds S | --requests N) [--host IPV4] [--clients N]\n"
          "            [--rate REQUESTS_PER_SECOND_AND_CLIENT] [--id] [--reconnect | --reopen] [--late-ms N] [--timeout-s N]\n",
          stderr);
    exit(2);
}

static void parse(int count, char **words) {
    static const struct option known[] = {
        {"host", 1, 0, 'h'}, {"port", 1, 0, 'p'}, {"request", 1, 0, 'q'}, {"answer", 1, 0, 'a'},
        {"seconds", 1, 0, 's'}, {"requests", 1, 0, 'n'}, {"clients", 1, 0, 'c'}, {"rate", 1, 0, 'r'},
        {"id", 0, 0, 'i'}, {"reconnect", 0, 0, 'x'}, {"reopen", 0, 0, 'o'}, {"late-ms", 1, 0, 'l'}, {"timeout-s", 1, 0, 't'}, {0}};
    const char *host = "127.0.0.1", *request = NULL, *answer = NULL;
    int port = 0;
    for (int letter; (letter = getopt_long(count, words, "", known, NULL)) != -1;)
        switch (letter) {
        case 'h': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'q': request = optarg; break;
        case 'a': answer = optarg; break;
        case 's': options.seconds = atof(optarg); break;
        case 'n': options.requests = strtoull(optarg, NULL, 10); break;
        case 'c': options.clients = atoi(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'i': options.with_id = true; break;
        case 'x': options.reconnect = true; break;
        case 'o': options.reopen = true; break;
        case 'l': options.late_ns = strtoull(optarg, NULL, 10) * 1000000u; break;
        case 't': options.timeout_ns = strtoull(optarg, NULL, 10) * 1000000000u; break;
        default: usage();
        }
    options.server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (optind != count || port < 1 || port > 65535 || !request || !answer
        || inet_pton(AF_INET, host, &options.server.sin_addr) != 1
        || options.clients < 1 || options.clients > CLIENTS_MAX || (options.rate != 0 && options.rate < 1)
        || (options.reconnect && options.reopen) || options.seconds < 0 || !options.timeout_ns || (options.seconds > 0) == (options.requests > 0))
        usage();
    options.request = read_file(request, &options.request_size);
    options.answer = read_file(answer, &options.answer_size);
    if (options.with_id && (options.request_size < ID_SIZE || options.answer_size < ID_SIZE))
        usage();
}

int main(int count, char **words) {
    parse(count, words);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (poller < 0 || timer < 0)
        fail_errno("epoll or timerfd");
    watch(TIMER, timer, EPOLL_CTL_ADD);
    /* At a fixed rate the number of requests is settled beforehand, so that all of them can be missed. */
    if (options.requests)
        each = (options.requests + (uint64_t)options.clients - 1) / (uint64_t)options.clients;
    else if (options.rate > 0)
        each = (uint64_t)(options.seconds * options.rate + 0.5);
    for (int k = 0; k < options.clients; k++)
        open_connection(k);
    uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    uint64_t passed_ns = run();
    print_results(passed_ns, clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns);
    return 0;
}
