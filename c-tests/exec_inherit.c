/* PGM sockets kept open across exec: the new program's library knows them, whichever way it was started. */
/* c-tests: variants=asan */
#include "check.h"
#include <spawn.h>

#define LONG (1 << 20)
extern char **environ;

static char self[4096], number[16];

static void expect_option(int fd, int name, int expected)
{
    int value = -1;
    socklen_t len = sizeof(value);

    OK(getsockopt(fd, SOL_SOCKET, name, &value, &len));
    EQUAL(value, expected);
}

static void expect_names(int fd, int local_port, int peer_port)
{
    struct sockaddr_in name;
    socklen_t len = sizeof(name);

    OK(getsockname(fd, SA(name), &len));
    EQUAL(name.sin_family, AF_INET);
    if (local_port != 0)
        EQUAL(name.sin_port, local_port);
    len = sizeof(name);
    OK(getpeername(fd, SA(name), &len));
    EQUAL(name.sin_family, AF_INET);
    if (peer_port != 0)
        EQUAL(name.sin_port, peer_port);
}

/* ---- what the new program does with the descriptor ---- */

static void read_session(int fd)
{
    struct pgm_receiver_stats stats;
    socklen_t len = sizeof(stats);
    static char buffer[LONG];
    struct msghdr header;
    struct iovec part = {buffer, 4};

    expect_names(fd, group(0).sin_port, 0);
    expect_option(fd, SO_TYPE, SOCK_RDM);
    expect_option(fd, SO_PROTOCOL, protocol());
    expect_option(fd, SO_DOMAIN, AF_INET);
    /* The parent has read "first ". */
    memset(&header, 0, sizeof(header));
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    EQUAL(recvmsg(fd, &header, 0), 4);
    CHECK((header.msg_flags & MSG_EOR) == 0 && memcmp(buffer, "mess", 4) == 0);
    EXPECT_TEXT(fd, "age");
    size_t got = 0;
    while (got < LONG) {
        ssize_t n = OK(read(fd, buffer, 300000));
        CHECK(n > 0 && matches(buffer, (size_t)n, 7, got));
        got += (size_t)n;
    }
    EQUAL(got, LONG);
    FAILS(send(fd, "x", 1, 0), EOPNOTSUPP);
    FAILS(getsockopt(fd, IPPROTO_PGM, RM_RECEIVER_STATISTICS, &stats, &len), ENOPROTOOPT);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
}

static void send_on(int fd)
{
    static char buffer[LONG];

    expect_names(fd, 0, group(0).sin_port);
    expect_option(fd, SO_TYPE, SOCK_RDM);
    FAILS(recv(fd, buffer, 1, 0), EOPNOTSUPP);
    fill(buffer, LONG, 9);
    EQUAL(write(fd, buffer, LONG), LONG);
    send_text(fd, "from the new program");
}

static void accept_on(int fd)
{
    struct sockaddr_in from;
    socklen_t len = sizeof(from);

    expect_option(fd, SO_ACCEPTCONN, 1);
    int accepted = (int)OK(accept(fd, SA(from), &len));
    expect_names(accepted, group(0).sin_port, from.sin_port);
    EXPECT_TEXT(accepted, "for the new program");
}

static void connect_it(int fd)
{
    struct sockaddr_in a = group(0);

    OK(connect(fd, SA(a), sizeof(a)));
    send_text(fd, "connected");
    OK(close(fd));
}

static void listen_on_it(int fd)
{
    struct sockaddr_in a = group(1);

    OK(bind(fd, SA(a), sizeof(a)));
    OK(listen(fd, 1));
    int tx = sender(1);
    send_text(tx, "to itself");
    int accepted = session(fd);
    EXPECT_TEXT(accepted, "to itself");
}

static void know_it(int fd)
{
    expect_option(fd, SO_TYPE, SOCK_RDM);
    FAILS(fcntl(fd + 1, F_GETFD), EBADF);
}

static void be_plain(int fd)
{
    char buffer[64];

    expect_option(fd, SO_TYPE, SOCK_SEQPACKET);
    EQUAL(read(fd, buffer, sizeof(buffer)), 5);
    CHECK(memcmp(buffer, "plain", 5) == 0);
    EQUAL(read(fd, buffer, sizeof(buffer)), 0);
}

static const struct {
    const char *name;
    void (*body)(int);
} bodies[] = {
    {"read", read_session}, {"send", send_on},  {"accept", accept_on}, {"connect", connect_it},
    {"listen", listen_on_it}, {"know", know_it}, {"plain", be_plain},
};

static int new_program(const char *what, int fd)
{
    extern int main(int, char **);

    begin(30);
    CHECK(getenv("PGMSHIM_INHERITED") == NULL || strcmp(what, "plain") == 0);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
        if (strcmp(bodies[i].name, what) == 0) {
            bodies[i].body(fd);
            return 0;
        }
    FAIL("no %s", what);
}

/* ---- the old one ---- */

static pid_t start(const char *what, int fd)
{
    pid_t pid = (pid_t)OK(fork());

    if (pid == 0) {
        for (int other = 3; other < 64; other++)
            if (other != fd)
                close(other);
        snprintf(number, sizeof(number), "%d", fd);
        execl(self, self, what, number, (char *)NULL);
        _exit(99);
    }
    return pid;
}

static void ways_to_start(int fd)
{
    char *argv[] = {self, "know", number, NULL}, *zero[] = {self, "know", "0", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;

    snprintf(number, sizeof(number), "%d", fd);
    for (int way = 0; way < 9; way++) {
        pid = way == 8 ? vfork() : fork();
        if (pid == 0) {
            switch (way) {
            case 0: execv(self, argv); break;
            case 1: execve(self, argv, environ); break;
            case 2: execvp(self, argv); break;
            case 3: execvpe(self, argv, environ); break;
            case 4: execle(self, self, "know", number, (char *)NULL, environ); break;
            case 5: execlp(self, self, "know", number, (char *)NULL); break;
            case 6: fexecve(open(self, O_RDONLY | O_CLOEXEC), argv, environ); break;
            case 7: execveat(AT_FDCWD, self, argv, environ, 0); break;
            case 8: execv(self, argv); break;
            }
            _exit(99);
        }
        CHILD_PASSED(pid);
    }
    /* Many arguments, in registers and on the stack. */
    pid = (pid_t)OK(fork());
    if (pid == 0) {
        execl(self, self, "know", number, "3", "4", "5", "6", "7", "8", "9", (char *)NULL);
        _exit(99);
    }
    CHILD_PASSED(pid);
    FAILS(execl("/nonexistent", "x", (char *)NULL), ENOENT);
    EQUAL(posix_spawn(&pid, self, NULL, NULL, argv, environ), 0);
    CHILD_PASSED(pid);
    EQUAL(posix_spawnp(&pid, self, NULL, NULL, argv, environ), 0);
    CHILD_PASSED(pid);
    EQUAL(posix_spawn_file_actions_init(&actions), 0);
    EQUAL(posix_spawn_file_actions_adddup2(&actions, fd, 0), 0);
    EQUAL(posix_spawn_file_actions_addclosefrom_np(&actions, 1), 0);
    EQUAL(posix_spawn(&pid, self, &actions, NULL, zero, environ), 0);
    CHILD_PASSED(pid);
    posix_spawn_file_actions_destroy(&actions);
}

int main(int argc, char **argv)
{
    static char buffer[LONG];
    ssize_t n;

    if (argc >= 3)
        return new_program(argv[1], atoi(argv[2]));
    begin(90);
    n = OK(readlink("/proc/self/exe", self, sizeof(self) - 1));
    self[n] = 0;

    int rx = listener(0), tx = sender(0);
    send_text(tx, "first message");
    int fd = session(rx);
    EQUAL(recv(fd, buffer, 6, 0), 6);
    fill(buffer, LONG, 7);
    EQUAL(send(tx, buffer, LONG, 0), LONG);
    pid_t pid = start("read", fd);
    OK(close(tx));
    CHILD_PASSED(pid);
    OK(close(fd));

    tx = sender(0);
    pid = start("send", tx);
    fd = session(rx);
    EQUAL(recv(fd, buffer, LONG, 0), LONG);
    CHECK(matches(buffer, LONG, 9, 0));
    EXPECT_TEXT(fd, "from the new program");
    CHILD_PASSED(pid);
    send_text(tx, "from the old");
    EXPECT_TEXT(fd, "from the old");
    OK(close(tx));
    EQUAL(recv(fd, buffer, LONG, 0), 0);
    OK(close(fd));

    pid = start("accept", rx);
    tx = sender(0);
    send_text(tx, "for the new program");
    CHILD_PASSED(pid);
    OK(close(tx));

    int fresh = pgm_socket(0);
    pid = start("connect", fresh);
    fd = session(rx);
    EXPECT_TEXT(fd, "connected");
    CHILD_PASSED(pid);
    CHILD_PASSED(start("listen", fresh));
    OK(close(fd));

    /* The only descriptors above 2, and the second is CLOEXEC. */
    OK(close(fresh));
    OK(close(rx));
    fd = pgm_socket(0);
    pgm_socket(SOCK_CLOEXEC);
    ways_to_start(fd);

    /* No library in the new program: messages still come, one read each. */
    rx = listener(2), tx = sender(2);
    send_text(tx, "plain");
    fd = session(rx);
    CHECK(ready(fd, POLLIN, 10000) & POLLIN);
    OK(close(tx));
    unsetenv("LD_PRELOAD");
    CHILD_PASSED(start("plain", fd));
    return 0;
}
