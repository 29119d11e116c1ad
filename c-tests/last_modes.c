/*
 * What the end of a sender means: PGM_LINGER of the environment and of a socket, SO_LINGER, an exec that fails, and a
 * process that cannot be made.
 */
/* c-tests: time=200 */
#include "check.h"
#include "last.h"
#include <sys/resource.h>

enum { MESSAGES = 300, SIZE = 1300 };

enum how { BACKGROUND, BLOCK, OFF, OPTION, NO_PROCESS, LINGER_ON, LINGER_ZERO, LINGER_ZERO_EXIT, EXEC_FAILS, HOWS };

static void send_some(int fd)
{
    char message[SIZE];

    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
}

static void set_linger(int fd, int seconds)
{
    struct linger linger = {1, seconds};

    OK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
}

static void transmit(enum how how)
{
    struct pgm_linger block = {PGM_LINGER_BLOCK, 500, 10000};
    struct rlimit one = {1, 1};
    char *args[] = {(char *)"x", NULL};
    struct sockaddr_in a = group(how);
    int fd = pgm_socket(0);

    if (how == OPTION)
        OK(setsockopt(fd, IPPROTO_PGM, PGM_LINGER, &block, sizeof(block)));
    if (how == LINGER_ZERO_EXIT)
        set_linger(fd, 0);
    OK(connect(fd, SA(a), sizeof(a)));
    send_some(fd);
    switch (how) {
    case LINGER_ON:
        set_linger(fd, 30);
        OK(close(fd));
        /* Not even the end of the process loses anything: it is all out. */
        kill(getpid(), SIGKILL);
        break;
    case LINGER_ZERO:
        set_linger(fd, 0);
        OK(close(fd));
        sleep_ms(2000);
        break;
    case NO_PROCESS:
        OK(setrlimit(RLIMIT_NPROC, &one));
        break;
    case EXEC_FAILS:
        FAILS(execvp("/nonexistent/program", args), ENOENT);
        FAILS(execve("/", args, environ), EACCES);
        FAILS(execvpe("/nonexistent/program", args, environ), ENOENT);
        expect_nobody();
        FAILS(waitpid(-1, NULL, WNOHANG), ECHILD);
        send_some(fd);
        break;
    default: break;
    }
    exit(0);
}

/* How many messages arrive, all of them right. */
static uint32_t receive(int rx, int *end, int *error)
{
    char message[SIZE + 1];
    uint32_t i = 0;
    ssize_t n = 0;

    if (!(ready(rx, POLLIN, 5000) & POLLIN))
        return 0;
    int fd = (int)OK(accept(rx, NULL, NULL));
    while (ready(fd, POLLIN, 3000) && (n = recv(fd, message, sizeof(message), 0)) > 0) {
        EQUAL(n, SIZE);
        CHECK(matches(message, SIZE, i % MESSAGES, 0));
        i++;
    }
    *end = n == 0;
    *error = n == -1 ? errno : 0;
    OK(close(fd));
    return i;
}

static void try_it(enum how how)
{
    int status, go[2], end = 0, error = 0;

    OK(pipe(go));
    setenv("PGM_LINGER", how == BLOCK ? "block" : how == OFF ? "off" : "background", 1);
    pid_t pid = (pid_t)OK(fork());
    if (pid == 0) {
        begin(90);
        /* Slow enough that not all is out when the last send returns. */
        setenv("PGM_RATE", "1M", 1);
        if (how == NO_PROCESS && getuid() == 0)
            /* Root has no limit of processes. */
            OK(setresuid(65534, 65534, 65534));
        hear(go[0]);
        transmit(how);
    }
    int rx = listener(how);
    tell(go[1]);
    EQUAL(waitpid(pid, &status, 0), pid);
    if (how == LINGER_ON)
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    else
        EQUAL(status, 0);
    int background = lingering();
    uint32_t count = receive(rx, &end, &error);
    switch (how) {
    case OFF:
    case LINGER_ZERO:
    case LINGER_ZERO_EXIT:
        EQUAL(background, 0);
        if (count == MESSAGES || end)
            FAIL("way %d: all was out", how);
        /* OPT_RST tells (S-31, S-32): silence would take half a minute. */
        if (count > 0)
            EQUAL(error, ECONNRESET);
        break;
    case BLOCK:
    case OPTION:
    case NO_PROCESS:
    case LINGER_ON:
    case BACKGROUND:
    case EXEC_FAILS:
        if (background != (how == BACKGROUND || how == EXEC_FAILS))
            FAIL("way %d: %d in the background", how, background);
        EQUAL(count, how == EXEC_FAILS ? 2 * MESSAGES : MESSAGES);
        CHECK(end);
        break;
    case HOWS: break;
    }
    OK(close(rx));
    expect_nobody();
}

int main(void)
{
    begin(190);
    setenv("PGM_FAULT_LOSS", "0.05", 1);
    for (int how = 0; how < HOWS; how++) {
        /* A raw socket needs what a user has not. */
        if (how == NO_PROCESS && protocol() == IPPROTO_PGM)
            continue;
        fprintf(stderr, "way %d\n", how);
        try_it((enum how)how);
    }
    return 0;
}
