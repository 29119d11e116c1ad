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

static void tell(int fd, int sends, unsigned long messages)
{
    struct pgm_sender_stats sender = {0};
    struct pgm_receiver_stats receiver = {0};
    socklen_t size = sends ? sizeof(sender) : sizeof(receiver);
    void *place = sends ? (void *)&sender : (void *)&receiver;

    if (fd != -1 &&
        getsockopt(fd, IPPROTO_PGM, sends ? RM_SENDER_STATISTICS : RM_RECEIVER_STATISTICS, place, &size) != 0)
        die("statistics");
    printf("{\"messages\":%lu,\"naks\":%" PRIu64 ",\"repairs\":%" PRIu64 ",\"octets\":%" PRIu64 "}\n", messages,
           sends ? sender.naks_received : receiver.total_selective_naks_sent,
           sends ? sender.repair_packets_sent : receiver.num_rdata_packets_received,
           sends ? sender.total_bytes_sent : receiver.total_bytes_received);
    fflush(stdout);
}

/* Whether standard input has ended; a line there is answered. */
static int has_ended(int fd, int sends, unsigned long messages)
{
    char line[64];
    ssize_t n = read(STDIN_FILENO, line, sizeof(line));

    if (n > 0)
        tell(fd, sends, messages);
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

        if (poll(&input, 1, 5) == 1 && has_ended(fd, 1, i))
            break;
        message_fill(buffer, length, i++);
        if (send(fd, buffer, length, 0) != (ssize_t)length)
            die("send");
    }
    if (shutdown(fd, SHUT_WR) != 0)
        die("shutdown");
    tell(fd, 1, i);
    return close(fd) == 0 ? 0 : 1;
}

static int receive_messages(int listener, const struct sockaddr_in *group)
{
    static unsigned char buffer[65536];
    struct sockaddr_in source;
    socklen_t length = sizeof(source);
    struct pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {listener, POLLIN, 0}};
    unsigned long i = 0;
    int fd = -1;

    if (bind(listener, (const struct sockaddr *)group, sizeof(*group)) != 0 || listen(listener, 1) != 0)
        die("listen");
    tell(-1, 0, 0);
    for (;;) {
        if (poll(ready, 2, -1) == -1)
            die("poll");
        if (ready[0].revents && has_ended(fd, 0, i))
            ready[0].fd = -1;
        if (!ready[1].revents)
            continue;
        if (fd == -1) {
            fd = ready[1].fd = accept(listener, (struct sockaddr *)&source, &length);
            if (fd == -1)
                die("accept");
            continue;
        }
        ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        if (got < 0)
            die("recv");
        if (got == 0)
            break;
        if (message_check(&job, buffer, (size_t)got, i++) != 0)
            return 1;
    }
    tell(fd, 0, i);
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
