/*
 * One end of a session that an attack must not disturb: session send|recv GROUP PORT udp|native INTERFACE
 *
 * The sender sends a numbered message every 5 ms, the receiver checks that none is missing, repeated or damaged. A line
 * on standard input asks either for a line of counters; its end ends the session. Plain sockets, linked to nothing.
 */
#include "../interop/pattern.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/pgm.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct job job = {.min = 200, .max = 3000, .verify = 1};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* What the carriage dropped; `fd` is any socket of it. */
static void tell_counters(int fd)
{
    struct pgm_counters c = {0};
    socklen_t size = sizeof(c);

    if (getsockopt(fd, IPPROTO_PGM, PGM_COUNTERS, &c, &size) != 0 && errno != ENOTCONN)
        die("PGM_COUNTERS");
    printf("\"packets\":%" PRIu64 ",\"malformed\":%" PRIu64 ",\"foreign\":%" PRIu64 ",\"spoofed\":%" PRIu64
           ",\"sources_refused\":%" PRIu64 ",\"over_budget\":%" PRIu64 ",\"unusable\":%" PRIu64 ",\"late\":%" PRIu64
           ",\"naks_refused\":%" PRIu64 ",\"other_requests\":%" PRIu64 ",\"sources\":%" PRIu64 ",",
           c.packets_received,
           c.malformed_length + c.malformed_version + c.malformed_type + c.malformed_checksum +
               c.malformed_no_checksum + c.malformed_option + c.malformed_address_family + c.malformed_window,
           c.foreign, c.spoofed, c.sources_refused, c.over_budget, c.unusable, c.late, c.naks_refused,
           c.other_requests, c.sources);
}

/* `fd` is the sender or the session, and -1 before there is one. */
static void tell(int fd, int served, int sends, unsigned long messages)
{
    struct pgm_sender_stats sender = {0};
    struct pgm_receiver_stats receiver = {0};
    socklen_t size = sends ? sizeof(sender) : sizeof(receiver);
    void *place = sends ? (void *)&sender : (void *)&receiver;

    if (fd != -1 &&
        getsockopt(fd, IPPROTO_PGM, sends ? RM_SENDER_STATISTICS : RM_RECEIVER_STATISTICS, place, &size) != 0)
        die("statistics");
    printf("{");
    tell_counters(served);
    printf("\"messages\":%lu,\"naks\":%" PRIu64 ",\"repairs\":%" PRIu64 ",\"octets\":%" PRIu64 "}\n", messages,
           sends ? sender.naks_received : receiver.total_selective_naks_sent,
           sends ? sender.repair_packets_sent : receiver.num_rdata_packets_received,
           sends ? sender.total_bytes_sent : receiver.total_bytes_received);
    fflush(stdout);
}

/* Whether standard input has ended; a line there is answered. */
static int has_ended(int fd, int served, int sends, unsigned long messages)
{
    char line[64];
    ssize_t n = read(STDIN_FILENO, line, sizeof(line));

    if (n > 0)
        tell(fd, served, sends, messages);
    return n <= 0;
}

static int send_messages(int fd, const struct sockaddr_in *group)
{
    static unsigned char buffer[4096];
    struct pollfd input = {STDIN_FILENO, POLLIN, 0};
    unsigned long i = 0;

    if (connect(fd, (const struct sockaddr *)group, sizeof(*group)) != 0)
        die("connect");
    for (;;) {
        size_t length = message_length(&job, i);

        if (poll(&input, 1, 5) == 1 && has_ended(fd, fd, 1, i))
            break;
        message_fill(buffer, length, i++);
        if (send(fd, buffer, length, 0) != (ssize_t)length)
            die("send");
    }
    if (shutdown(fd, SHUT_WR) != 0)
        die("shutdown");
    tell(fd, fd, 1, i);
    return close(fd) == 0 ? 0 : 1;
}

/* Sessions of strangers are read to their end, whatever it is. */
static void read_others(struct pollfd *others, int count)
{
    static unsigned char buffer[65536];

    for (int i = 0; i < count; i++)
        if (others[i].fd != -1 && others[i].revents && recv(others[i].fd, buffer, sizeof(buffer), 0) <= 0) {
            close(others[i].fd);
            others[i].fd = -1;
        }
}

static int receive_messages(int listener, const struct sockaddr_in *group)
{
    enum { INPUT, LISTENER, SESSION, OTHERS, MOST = 512 };
    static unsigned char buffer[65536];
    static struct pollfd ready[MOST];
    unsigned long i = 0;

    if (bind(listener, (const struct sockaddr *)group, sizeof(*group)) != 0 || listen(listener, 1) != 0)
        die("listen");
    for (int n = 0; n < MOST; n++)
        ready[n] = (struct pollfd){-1, POLLIN, 0};
    ready[INPUT].fd = STDIN_FILENO;
    ready[LISTENER].fd = listener;
    tell(-1, listener, 0, 0);
    for (;;) {
        if (poll(ready, MOST, -1) == -1)
            die("poll");
        if (ready[INPUT].revents && has_ended(ready[SESSION].fd, listener, 0, i))
            ready[INPUT].fd = -1;
        read_others(ready + OTHERS, MOST - OTHERS);
        if (ready[LISTENER].revents) {
            int n = SESSION;
            while (n < MOST && ready[n].fd != -1)
                n++;
            int fd = accept(listener, NULL, NULL);
            if (fd == -1)
                die("accept");
            if (n < MOST)
                ready[n].fd = fd;
            else
                close(fd);
        }
        if (!ready[SESSION].revents)
            continue;
        ssize_t got = recv(ready[SESSION].fd, buffer, sizeof(buffer), 0);
        if (got < 0)
            die("recv");
        if (got == 0)
            break;
        if (message_check(&job, buffer, (size_t)got, i++) != 0)
            return 1;
    }
    tell(ready[SESSION].fd, listener, 0, i);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in group = {.sin_family = AF_INET};
    struct pgm_send_window window = {20000, 0, 4000000};
    struct in_addr interface;

    if (argc != 6 || inet_pton(AF_INET, argv[2], &group.sin_addr) != 1 ||
        inet_pton(AF_INET, argv[5], &interface) != 1) {
        fprintf(stderr, "usage: session send|recv GROUP PORT udp|native INTERFACE\n");
        return 2;
    }
    group.sin_port = htons((uint16_t)atoi(argv[3]));
    int sends = argv[1][0] == 's';
    int fd = socket(AF_INET, SOCK_RDM, strcmp(argv[4], "native") == 0 ? IPPROTO_PGM : IPPROTO_UDP);
    if (fd == -1)
        die("socket");
    if (setsockopt(fd, IPPROTO_PGM, sends ? RM_SET_SEND_IF : RM_ADD_RECEIVE_IF, &interface, sizeof(interface)) != 0)
        die("interface");
    if (sends && setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)) != 0)
        die("RM_RATE_WINDOW_SIZE");
    return sends ? send_messages(fd, &group) : receive_messages(fd, &group);
}
