/* The library has one descriptor of the program's, and one for each socket that is not connected yet. They are in
 * nobody's way: every number can be had, the lowest free one is the next, children have none of them, and what the
 * program closes is closed. */
/* c-tests: variants=asan leaks=yes */
#include "check.h"
#include <dirent.h>

enum { LONG = 200000 };

static char message[LONG], buffer[LONG];

/* All descriptors of this process, those of the library too. */
static int open_count(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    CHECK(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(dir);
    closedir(dir);
    return count;
}

/* `arg`: how many descriptors a child of this program should have. */
static void as_many(void *arg)
{
    EQUAL(open_count(), *(int *)arg);
}

static void connect_late(void *arg)
{
    struct sockaddr_in a = group(3);

    OK(connect(*(int *)arg, SA(a), sizeof(a)));
    send_text(*(int *)arg, "late");
}

/* Let every number from 3 on name what `spare` names, in turn, but those in use. */
static void take_every_number(int spare, const int *in_use, int count)
{
    for (int n = 3; n < 1024; n++) {
        int skip = fcntl(n, F_GETFD) != -1;
        for (int i = 0; i < count; i++)
            skip |= n == in_use[i];
        if (skip)
            continue;
        FAILS(close(n), EBADF);
        FAILS(dup2(-1, n), EBADF);
        FAILS(fcntl(n, F_GETFD), EBADF);
        if (n % 3 == 0)
            EQUAL(dup2(spare, n), n);
        else if (n % 3 == 1)
            EQUAL(dup3(spare, n, O_CLOEXEC), n);
        else
            EQUAL(fcntl(spare, F_DUPFD, n), n);
        EQUAL(write(n, "x", 1), 1);
        OK(close(n));
        FAILS(write(n, "x", 1), EBADF);
    }
}

int main(void)
{
    begin(60);
    unsetenv("PGM_LOG");
    int before = open_count(), ends[2], saved = (int)OK(dup(STDERR_FILENO));

    /* Nobody else keeps the program's stderr open. */
    OK(pipe(ends));
    OK(dup2(ends[1], STDERR_FILENO));
    OK(close(ends[1]));
    int rx = listener(0), tx = sender(0);
    send_text(tx, "one");
    int fd = session(rx);
    EXPECT_TEXT(fd, "one");
    OK(close(STDERR_FILENO));
    EQUAL(ready(ends[0], POLLIN, 0), POLLHUP);
    EQUAL(read(ends[0], buffer, 1), 0);
    OK(dup2(saved, STDERR_FILENO));
    OK(close(saved));
    OK(close(ends[0]));

    EQUAL(open_count(), before + 3 + 1);
    int count = before + 3;
    CHILD_PASSED(child(10, as_many, &count));
    int fresh = pgm_socket(0);
    EQUAL(open_count(), before + 4 + 2);
    count = before + 4 + 1;
    CHILD_PASSED(child(10, as_many, &count));

    int spare = (int)OK(open("/dev/null", O_WRONLY)), in_use[] = {rx, tx, fd, fresh, spare};
    for (int i = 0; i < 3; i++) {
        take_every_number(spare, in_use, 5);
        send_text(tx, "two");
        EXPECT_TEXT(fd, "two");
        int another = sender(0);
        OK(close(another));
    }
    EQUAL(open_count(), before + 4 + 2 + 1);
    int late = listener(3);
    CHILD_PASSED(child(20, connect_late, &fresh));
    int from_child = session(late);
    EXPECT_TEXT(from_child, "late");
    OK(close(fresh));
    OK(close(from_child));
    OK(close(late));
    EQUAL(open_count(), before + 3 + 1 + 1);

    /* Messages that travel as files: their descriptors are in nobody's way. */
    OK(close(STDIN_FILENO));
    for (uint32_t i = 0; i < 50; i++) {
        fill(message, LONG, i);
        EQUAL(send(tx, message, LONG, 0), LONG);
        while (!(ready(fd, POLLIN, 0) & POLLIN)) {
            EQUAL(open("/dev/null", O_RDONLY), STDIN_FILENO);
            OK(close(STDIN_FILENO));
        }
        EQUAL(recv(fd, buffer, LONG, 0), LONG);
        CHECK(matches(buffer, LONG, i, 0));
    }
    return 0;
}
