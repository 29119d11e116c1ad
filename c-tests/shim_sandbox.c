/* Sandboxes that know few system calls: what is needed has a substitute, and what has none is told. */
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

/* From now on `number` fails with `error`. */
static void forbid(int number, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, filter};

    OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
}

/* A session begins and ends; what the engine says of it is on stderr. */
static void works(void)
{
    char text[10000] = "";
    int ends[2], saved = (int)OK(dup(STDERR_FILENO));

    OK(pipe(ends));
    OK(dup2(ends[1], STDERR_FILENO));
    setenv("PGM_LOG", "info", 1);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "one");
    int fd = session(rx);
    EXPECT_TEXT(fd, "one");
    OK(dup2(saved, STDERR_FILENO));
    OK(read(ends[0], text, sizeof(text) - 1));
    CHECK(strstr(text, "began") != NULL);
}

static void without_close_range(void *arg)
{
    (void)arg;
    forbid(SYS_close_range, ENOSYS);
    works();
}

static void without_unshare(void *arg)
{
    (void)arg;
    forbid(SYS_unshare, EPERM);
    works();
}

static void without_pidfd(void *arg)
{
    (void)arg;
    forbid(SYS_pidfd_getfd, EPERM);
    works();
}

static void without_any(void *arg)
{
    (void)arg;
    forbid(SYS_close_range, EPERM);
    forbid(SYS_unshare, EPERM);
    FAILS(socket(AF_INET, SOCK_RDM, protocol()), EPERM);
    FAILS(socket(AF_INET, SOCK_RDM, protocol()), EPERM);
    OK(fcntl(STDERR_FILENO, F_GETFD));
}

int main(void)
{
    void (*bodies[])(void *) = {without_close_range, without_unshare, without_pidfd, without_any};

    begin(60);
    for (int i = 0; i < 4; i++)
        CHILD_PASSED(child(15, bodies[i], NULL));
    return 0;
}
