/* _FORTIFY_SOURCE stays in force on PGM sockets: a receive past the end of its buffer aborts. */
/* c-tests: only=fortify2,fortify3 */
#include "check.h"

static int fd;
static volatile size_t too_much = 100;

static void by_recv(void)
{
    char buffer[50];
    recv(fd, buffer, too_much, 0);
}

static void by_recvfrom(void)
{
    char buffer[50];
    recvfrom(fd, buffer, too_much, 0, NULL, NULL);
}

static void by_read(void)
{
    char buffer[50];
    if (read(fd, buffer, too_much) < 0)
        _exit(3);
}

static void aborts(void (*how)(void))
{
    int status;
    pid_t pid = (pid_t)OK(fork());

    if (pid == 0) {
        close(2); /* "*** buffer overflow detected ***" */
        how();
        _exit(2);
    }
    EQUAL(waitpid(pid, &status, 0), pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    begin(30);
    int rx = listener(0), tx = sender(0);
    char small[5];

    send_text(tx, "hello");
    fd = session(rx);
    aborts(by_recv);
    aborts(by_recvfrom);
    aborts(by_read);
    EQUAL(recv(fd, small, too_much / 20, 0), 5);
    return 0;
}
