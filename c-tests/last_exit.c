/*
 * A sender that writes a megabyte and ends at once, by whichever way, where a fifth of the packets is lost: its end is
 * not held up, its stdout closes with it, whoever waits for it sees nothing but its own children, every
 * octet arrives, and in the end nothing is left behind.
 */
/* c-tests: time=200 */
#include "check.h"
#include "last.h"
#include <pthread.h>

enum { MESSAGES = 800, SIZE = 1311 };

enum way { RETURN, EXIT, UNDERSCORE, CAPITAL, QUICK, EXECV, EXECVE, EXECVP, FEXECVE, SHUTDOWN, CLOSE, THREAD, WAYS };

static const char *const NAMES[] = {"return", "exit",   "_exit",   "_Exit",    "quick_exit",   "execv",
                                    "execve", "execvp", "fexecve", "shutdown", "close, exit",  "pthread_exit"};

#define SELF "/proc/self/exe"

static int handlers;

static void count(void)
{
    /* Run twice, it would say so twice. */
    if (++handlers != 1)
        FAIL("a handler ran again");
    printf("handler\n");
}

static void leave(int fd, enum way way)
{
    char *args[] = {"last_exit", "after", NULL};
    sigset_t mask;

    /* What is pending stays so over exec. */
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, NULL);

    switch (way) {
    case RETURN: return;
    case EXIT: exit(7);
    case UNDERSCORE: _exit(7);
    case CAPITAL: _Exit(7);
    case QUICK: quick_exit(7);
    case EXECV: execv(SELF, args); break;
    case EXECVE: execve(SELF, args, environ); break;
    case EXECVP: execvp(SELF, args); break;
    case FEXECVE: fexecve((int)OK(open(SELF, O_RDONLY | O_CLOEXEC)), args, environ); break;
    case SHUTDOWN:
        OK(shutdown(fd, SHUT_WR));
        _exit(7);
    case CLOSE:
        OK(close(fd));
        exit(7);
    case THREAD: pthread_exit(NULL);
    case WAYS: break;
    }
    FAIL("way %d", way);
}

/* The program that replaced it: no child, and none has ended. */
static int after(void)
{
    sigset_t pending;

    FAILS(waitpid(-1, NULL, 0), ECHILD);
    OK(sigpending(&pending));
    CHECK(!sigismember(&pending, SIGCHLD));
    return 7;
}

/* The program: `last_exit WAY`. Its stdout is a pipe. */
static int program(enum way way)
{
    char message[SIZE];
    struct sockaddr_in a = group(way);
    int fd = (int)OK(socket(AF_INET, SOCK_RDM | SOCK_CLOEXEC, protocol()));

    begin(60);
    OK(connect(fd, SA(a), sizeof(a)));
    if (way == RETURN || way == EXIT) {
        atexit(count);
        printf("buffered once ");
    }
    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
    FAILS(waitpid(-1, NULL, WNOHANG), ECHILD);
    leave(fd, way);
    return 7;
}

/* What comes from a pipe until it is closed everywhere. */
static void expect_output(int fd, const char *expected)
{
    char text[200];
    size_t got = 0;
    ssize_t n;

    while ((n = OK(read(fd, text + got, sizeof(text) - 1 - got))) > 0)
        got += (size_t)n;
    text[got] = '\0';
    if (strcmp(text, expected) != 0)
        FAIL("output \"%s\", expected \"%s\"", text, expected);
}

static void receive_all(int rx, enum way way)
{
    char message[SIZE + 1];
    int fd = session(rx);

    for (uint32_t i = 0; i < MESSAGES; i++) {
        ssize_t n = recv(fd, message, sizeof(message), 0);
        if (n != SIZE)
            FAIL("%s, message %u: %zd octets (errno %s)", NAMES[way], i, n, errno_text(errno));
        CHECK(matches(message, SIZE, i, 0));
    }
    EQUAL(recv(fd, message, sizeof(message), 0), 0);
    OK(close(fd));
}

static void try_way(const char *self, enum way way)
{
    char number[8];
    char *args[] = {(char *)self, number, NULL};
    int out[2], status;
    int rx = listener(way);

    snprintf(number, sizeof(number), "%d", way);
    OK(pipe2(out, O_CLOEXEC));
    pid_t pid = (pid_t)OK(fork());
    if (pid == 0) {
        OK(dup2(out[1], 1));
        OK(close(out[1]));
        OK(close(out[0]));
        execv(SELF, args);
        FAIL("execv: %s", errno_text(errno));
    }
    OK(close(out[1]));
    const char *text = way == RETURN || way == EXIT ? "buffered once handler\n" : "";
    expect_output(out[0], text);
    EQUAL(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    EQUAL(WEXITSTATUS(status), way == THREAD ? 0 : 7);
    OK(close(out[0]));
    /* A megabyte needs longer: somebody else sends it. */
    CHECK(lingering());
    receive_all(rx, way);
    OK(close(rx));
    expect_nobody();
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "after") == 0)
        return after();
    if (argc > 1)
        return program((enum way)atoi(argv[1]));
    begin(190);
    setenv("PGM_FAULT_LOSS", "0.2", 1);
    setenv("PGM_RATE", "8M", 1);
    setenv("PGM_WINDOW", "10M", 1);
    for (int way = 0; way < WAYS; way++)
        try_way(argv[0], (enum way)way);
    return 0;
}
