/* fork at every stage of a socket's life, workers that share a listener, vfork. */
#include "check.h"

static void expect_session(int rx, const char *text)
{
    int fd = session(rx);
    char buffer[64];

    EXPECT_TEXT(fd, text);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    OK(close(fd));
}

static void with_bound(void *arg)
{
    int fd = *(int *)arg, value = 0;
    struct sockaddr_in name;
    socklen_t len = sizeof(name);

    OK(getsockname(fd, SA(name), &len));
    EQUAL(name.sin_port, group(1).sin_port);
    FAILS(bind(fd, SA(name), sizeof(name)), EINVAL);
    OK(listen(fd, 2));
    len = sizeof(value);
    OK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len));
    EQUAL(value, 1);
    int tx = sender(1);
    send_text(tx, "bound before");
    OK(close(tx));
    expect_session(fd, "bound before");
}

/* A worker takes one session and says so. */
static void worker(void *arg)
{
    int *p = arg, fd = (int)OK(accept(p[0], NULL, NULL));
    char buffer[64];

    EXPECT_TEXT(fd, "work");
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    tell(p[1]);
}

static void read_rest(void *arg)
{
    int fd = *(int *)arg;

    EXPECT_TEXT(fd, "half");
    EXPECT_TEXT(fd, "whole");
    /* The child closes everything but goes on. */
    for (int i = 3; i < 1024; i++)
        close(i);
    int rx = listener(9), tx = sender(9);
    send_text(tx, "new");
    OK(close(tx));
    expect_session(rx, "new");
}

static void close_all(void *arg)
{
    (void)arg;
    OK(close_range(3, ~0u, 0));
    closefrom(3);
    FAILS(fcntl(3, F_GETFD), EBADF);
}

static void shut(void *arg)
{
    OK(shutdown(*(int *)arg, SHUT_RDWR));
}

/* The process that serves a listener is killed; its child listens again. */
static void killed(void *arg)
{
    int rx = listener(5);

    if (OK(fork()) > 0) {
        raise(SIGKILL);
        return;
    }
    begin(20);
    FAILS(accept(rx, NULL, NULL), EINVAL);
    FAILS(accept(rx, NULL, NULL), EINVAL);
    OK(listen(rx, 1));
    int tx = sender(5);
    send_text(tx, "to the child");
    OK(close(tx));
    expect_session(rx, "to the child");
    tell(*(int *)arg);
}

int main(void)
{
    struct sockaddr_in a = group(1);
    char buffer[64];
    int ends[2];

    begin(60);
    /* Bound: the child listens, the parent is still only bound. */
    int fd = pgm_socket(0);
    OK(bind(fd, SA(a), sizeof(a)));
    CHILD_PASSED(child(20, with_bound, &fd));
    OK(close(fd));

    /* Four workers, four sessions: each gets one. */
    OK(pipe(ends));
    int rx = listener(2), both[2] = {rx, ends[1]};
    pid_t pids[4];
    for (int i = 0; i < 4; i++)
        pids[i] = child(30, worker, both);
    for (int i = 0; i < 4; i++) {
        int tx = sender(2);
        send_text(tx, "work");
        OK(close(tx));
    }
    for (int i = 0; i < 4; i++)
        hear(ends[0]);
    for (int i = 0; i < 4; i++)
        CHILD_PASSED(pids[i]);
    CHECK((ready(rx, POLLIN, 0) & POLLIN) == 0);

    /* In the middle of a message. */
    int tx = sender(2);
    send_text(tx, "one half");
    send_text(tx, "whole");
    fd = session(rx);
    EQUAL(recv(fd, buffer, 4, 0), 4);
    CHILD_PASSED(child(20, read_rest, &fd));
    send_text(tx, "for the parent");
    EXPECT_TEXT(fd, "for the parent");

    /* A child that closes everything, by fork and by vfork, disturbs nobody. */
    CHILD_PASSED(child(20, close_all, NULL));
    pid_t pid = vfork();
    if (pid == 0) {
        for (int i = 3; i < 1024; i++)
            close(i);
        _exit(0);
    }
    CHILD_PASSED(pid);
    send_text(tx, "still here");
    EXPECT_TEXT(fd, "still here");
    rx = listener(3);
    int tx3 = sender(3);
    send_text(tx3, "new here");
    OK(close(tx3));
    expect_session(rx, "new here");

    /* A listener that a child has shut down may listen again, as one of one's own. */
    rx = listener(4);
    CHILD_PASSED(child(20, shut, &rx));
    FAILS(accept(rx, NULL, NULL), EINVAL);
    sleep_ms(100);
    FAILS(accept(rx, NULL, NULL), EINVAL);
    OK(listen(rx, 1));
    OK(listen(rx, 1));
    int tx4 = sender(4);
    send_text(tx4, "again");
    OK(close(tx4));
    expect_session(rx, "again");
    pid = child(20, killed, &ends[1]);
    int status;
    EQUAL(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    hear(ends[0]);

    /* The last reference may be a child's. */
    pid = (pid_t)OK(fork());
    if (pid == 0) {
        begin(20);
        sleep_ms(300);
        send_text(tx, "last words");
        _exit(0);
    }
    OK(close(tx));
    EXPECT_TEXT(fd, "last words");
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    CHILD_PASSED(pid);
    return 0;
}
