/*
 * A process with PGM sockets becomes another program, which keeps its number and its sockets: they are still another
 * engine's, and what is asked of them is not answered by sockets of the new program's.
 */
#include "last.h"

static int is_pgm(int fd)
{
    int protocol_is = 0;
    socklen_t len = sizeof(protocol_is);

    OK(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol_is, &len));
    return protocol_is == protocol();
}

/* The new program: a sender, a fresh socket, and a listener of the old one. */
static int after(int tx, int fresh, int rx)
{
    struct pgm_sender_stats statistics;
    socklen_t len = sizeof(statistics);
    struct linger abort = {1, 0};
    struct sockaddr_in a = group(1);

    CHECK(is_pgm(tx) && is_pgm(fresh) && is_pgm(rx));
    int own = sender(2), own_rx = listener(3);
    send_text(own, "one");
    FAILS(getsockopt(tx, IPPROTO_PGM, RM_SENDER_STATISTICS, &statistics, &len), ENOPROTOOPT);
    OK(getsockopt(own, IPPROTO_PGM, RM_SENDER_STATISTICS, &statistics, &len));
    /* Of the old sender and no other. */
    OK(setsockopt(tx, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort)));

    int first = session(rx);
    EXPECT_TEXT(first, "before");
    OK(connect(fresh, SA(a), sizeof(a)));
    send_text(fresh, "fresh");
    int second = session(rx);
    EXPECT_TEXT(second, "fresh");
    OK(close(fresh));
    EQUAL(recv(second, &len, sizeof(len), 0), 0);
    OK(close(own_rx));
    return 0;
}

int main(int argc, char **argv)
{
    char numbers[3][12];
    char *args[] = {argv[0], numbers[0], numbers[1], numbers[2], NULL};

    begin(30);
    if (argc == 4)
        return after(atoi(argv[1]), atoi(argv[2]), atoi(argv[3]));
    int rx = listener(1);
    struct sockaddr_in a = group(1);
    int tx = pgm_socket(0), fresh = pgm_socket(0);
    OK(connect(tx, SA(a), sizeof(a)));
    send_text(tx, "before");
    snprintf(numbers[0], sizeof(numbers[0]), "%d", tx);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", fresh);
    snprintf(numbers[2], sizeof(numbers[2]), "%d", rx);
    execv("/proc/self/exe", args);
    FAIL("execv: %s", errno_text(errno));
}
