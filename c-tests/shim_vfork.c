/* vfork and posix_spawn: what the child does before exec happens in the parent's memory, and must not count. */
#include "check.h"
#include <spawn.h>

extern char **environ;

/* A child that makes the usual moves; it exits without exec if `path` is NULL. */
static void __attribute__((noinline)) spawn_by_vfork(int a, int b, char *path)
{
    char *args[] = {path, NULL};
    int status;
    pid_t pid = vfork();

    if (pid == 0) {
        dup2(a, 0);
        dup2(b, 5);
        close(a);
        close(b);
        close_range(3, ~0u, 0);
        if (path != NULL)
            execv(path, args);
        _exit(0);
    }
    CHECK(pid > 0);
    EQUAL(waitpid(pid, &status, 0), pid);
    EQUAL(status, 0);
}

int main(void)
{
    char path[] = "/bin/true", missing[] = "/nonexistent";
    char *args[] = {path, NULL};
    posix_spawn_file_actions_t actions;
    long long start;
    pid_t pid;

    begin(30);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "before");
    int fd = session(rx);
    EXPECT_TEXT(fd, "before");
    start = now_ms();
    spawn_by_vfork(tx, fd, path);
    spawn_by_vfork(fd, tx, missing);
    spawn_by_vfork(tx, fd, NULL);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, tx, 0);
    posix_spawn_file_actions_addclose(&actions, tx);
    EQUAL(posix_spawn(&pid, path, &actions, NULL, args, environ), 0);
    CHILD_PASSED(pid);
    EQUAL(system("true"), 0);
    /* No child waited for what only we can send. */
    CHECK(now_ms() - start < 900);
    send_text(tx, "after");
    EXPECT_TEXT(fd, "after");
    FAILS(send(fd, "x", 1, 0), EOPNOTSUPP);
    FAILS(accept(tx, NULL, NULL), EINVAL);
    return 0;
}
