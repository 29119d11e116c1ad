/* Odd surroundings: standard descriptors closed, few descriptors, no /proc, an empty environment. */
#include "check.h"
#include <sys/resource.h>
#include <sys/stat.h>

static char self[4096];

/* One message from a new sender to a new listener, everything closed again. */
static void works(int n)
{
    int rx = listener(n), tx = sender(n);

    send_text(tx, "works");
    int fd = session(rx);
    EXPECT_TEXT(fd, "works");
    OK(close(tx));
    char octet;
    EQUAL(recv(fd, &octet, 1, 0), 0);
    OK(close(fd));
    OK(close(rx));
}

/* Sockets get numbers below 3; what the library has to say must not become a message. */
static void without_standard_descriptors(void *arg)
{
    (void)arg;
    /* For what this test has to say. */
    OK(dup2(2, 60));
    stderr = fdopen(60, "w");
    OK(close_range(0, 59, 0));
    setenv("PGM_LOG", "debug", 1);
    works(0);
    int rx = listener(10), tx = sender(9);
    int tx2 = sender(10);
    if (tx2 != 2) {
        if (rx == 2)
            rx = (int)OK(dup(rx));
        OK(dup2(tx2, 2));
        OK(close(tx2));
    }
    OK(close(sender(1)));
    send_text(2, "only this");
    OK(close(2));
    OK(close(tx));
    int fd = session(rx);
    EXPECT_TEXT(fd, "only this");
    EQUAL(recv(fd, self, 1, 0), 0);
}

/* Open senders until there is no room: always EMFILE, never worse. How many there were. */
static int fill_up(void)
{
    struct sockaddr_in a = group(3);
    int fds[32], n, error;

    for (n = 0; n < 32; n++) {
        fds[n] = socket(AF_INET, SOCK_RDM, protocol());
        error = errno;
        if (fds[n] == -1)
            break;
        if (connect(fds[n], SA(a), sizeof(a)) == -1) {
            error = errno;
            OK(close(fds[n]));
            break;
        }
    }
    CHECK(n < 32);
    EQUAL(error, EMFILE);
    for (int i = 0; i < n; i++)
        OK(close(fds[i]));
    return n;
}

/* Until a sender says that it was the last. */
static void receive_with_few(void *arg)
{
    struct rlimit limit = {16, 16};
    char text[64];

    OK(setrlimit(RLIMIT_NOFILE, &limit));
    int rx = listener(2);
    tell(*(int *)arg);
    for (;;) {
        int fd = session(rx);
        ssize_t n = OK(recv(fd, text, sizeof(text), 0));
        OK(close(fd));
        if (n == 4 && memcmp(text, "last", 4) == 0)
            return;
    }
}

static void few_descriptors(void *arg)
{
    struct rlimit limit = {16, 16};
    struct sockaddr_in a = group(2);
    int ends[2];

    (void)arg;
    OK(pipe(ends));
    pid_t pid = child(60, receive_with_few, &ends[1]);
    hear(ends[0]);
    OK(setrlimit(RLIMIT_NOFILE, &limit));
    int tx = sender(2);
    send_text(tx, "first");
    OK(close(tx));
    OK(close(ends[0]));
    OK(close(ends[1]));
    /* Each time the descriptors come back when lingers are over. */
    int most = 0;
    for (int round = 0; round < 4; round++) {
        long long limit_ms = now_ms() + 15000;
        int n = fill_up();
        while (n < most || n == 0) {
            CHECK(now_ms() < limit_ms);
            /* They take longer on a busy machine, and each try leaves some more. */
            sleep_ms(1000);
            n = fill_up();
        }
        most = n;
    }
    while ((tx = socket(AF_INET, SOCK_RDM, protocol())) == -1 || connect(tx, SA(a), sizeof(a)) == -1) {
        EQUAL(errno, EMFILE);
        if (tx != -1)
            OK(close(tx));
        sleep_ms(50);
    }
    send_text(tx, "last");
    CHILD_PASSED(pid);
}

static void without_proc(void *arg)
{
    char directory[] = "/tmp/pgm-chroot.XXXXXX";

    (void)arg;
    CHECK(mkdtemp(directory) != NULL);
    OK(chroot(directory));
    OK(chdir("/"));
    works(6);
    int rx = listener(7), tx = sender(7);
    send_text(tx, "x");
    int fd = session(rx);
    EXPECT_TEXT(fd, "x");
}

static void without_environment(void *arg)
{
    char preload[4096], *keep[] = {preload, NULL};

    (void)arg;
    CHECK(getenv("LD_PRELOAD") != NULL);
    snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", getenv("LD_PRELOAD"));
    execle(self, self, "alone", (char *)NULL, keep);
    FAIL("execle: %s", errno_text(errno));
}

int main(int argc, char **argv)
{
    ssize_t n = OK(readlink("/proc/self/exe", self, sizeof(self) - 1));

    self[n] = 0;
    if (argc > 1) {
        /* begin() would set PGM_INTERFACE. */
        CHECK(strcmp(argv[1], "alone") == 0);
        alarm(20);
        works(8);
        return 0;
    }
    begin(90);
    CHILD_PASSED(child(30, without_standard_descriptors, NULL));
    CHILD_PASSED(child(60, few_descriptors, NULL));
    if (geteuid() == 0)
        CHILD_PASSED(child(30, without_proc, NULL));
    CHILD_PASSED(child(30, without_environment, NULL));
    return 0;
}
