/* fork: what was open goes on working on both sides, and a child may open sockets of its own. */
/* c-tests: variants=asan leaks=yes */
#include "check.h"

static void expect_message(int n, const char *text)
{
    int fd = session(n);
    EXPECT_TEXT(fd, text);
    OK(close(fd));
}

/* A child that runs `body(fd)`; it exits by exit(). */
static pid_t forked(void (*body)(int), int fd)
{
    pid_t pid = (pid_t)OK(fork());

    if (pid == 0) {
        begin(20);
        body(fd);
        exit(0);
    }
    return pid;
}

static void connect_in_child(int fd)
{
    struct sockaddr_in a = group(0);

    OK(connect(fd, SA(a), sizeof(a)));
    send_text(fd, "connected in the child");
    OK(close(fd));
}

static void send_in_child(int fd)
{
    send_text(fd, "sent by the child");
}

static void accept_in_child(int fd)
{
    struct sockaddr_in from, name;
    socklen_t len = sizeof(from);
    struct pgm_receiver_stats stats;
    int accepted = (int)OK(accept(fd, SA(from), &len));

    EXPECT_TEXT(accepted, "for a worker");
    OK(getpeername(accepted, SA(name), &len));
    EQUAL(name.sin_port, from.sin_port);
    OK(getsockname(accepted, SA(name), &len));
    EQUAL(name.sin_port, group(0).sin_port);
    /* The counters are those of the engine, and that is the parent's. */
    len = sizeof(stats);
    FAILS(getsockopt(accepted, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &len), ENOPROTOOPT);
}

static void own_sockets(int fd)
{
    int rx = listener(1), tx = sender(1);

    (void)fd;
    send_text(tx, "the child's own");
    expect_message(rx, "the child's own");
}

static void do_nothing(int fd)
{
    (void)fd;
}

int main(void)
{
    long long start;

    begin(60);
    int fresh = pgm_socket(0), rx = listener(0);
    pid_t pid = forked(connect_in_child, fresh);
    expect_message(rx, "connected in the child");
    CHILD_PASSED(pid);

    /* The child's end of a sender is as good as ours, and its exit does not end the session. */
    int tx = sender(0);
    pid = forked(send_in_child, tx);
    CHILD_PASSED(pid);
    send_text(tx, "sent by the parent");
    int fd = session(rx);
    EXPECT_TEXT(fd, "sent by the child");
    EXPECT_TEXT(fd, "sent by the parent");
    OK(close(tx));
    EQUAL(recv(fd, &start, sizeof(start), 0), 0);

    /* Workers that wait for sessions. */
    pid = forked(accept_in_child, rx);
    sleep_ms(200);
    tx = sender(0);
    send_text(tx, "for a worker");
    CHILD_PASSED(pid);

    pid = forked(own_sockets, -1);
    CHILD_PASSED(pid);
    own_sockets(-1);

    /* A child has nothing to wait for when it ends, whatever the parent has still to send. */
    start = now_ms();
    pid = forked(do_nothing, -1);
    CHILD_PASSED(pid);
    CHECK(now_ms() - start < 500);
    return 0;
}
