/* Too long, too many, nothing, nowhere: EMSGSIZE, EINVAL, 0 and EFAULT as Linux has them. */
#include "check.h"
#include <limits.h>
#include <sys/mman.h>
#include <sys/resource.h>
/* The compiler knows some of these are wrong; that is the point. */
#pragma GCC diagnostic ignored "-Wnonnull"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Warray-bounds"

enum { MOST = 256 << 20 };

static volatile sig_atomic_t signals;

static void on_signal(int signal)
{
    (void)signal;
    signals++;
}

/* Memory that is not there. */
static void *nowhere(void)
{
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return page;
}

static void bad_buffers(int tx, int fd, char *bad)
{
    char good[4] = "good";
    struct iovec parts[2] = {{good, 4}, {bad, 4}};
    struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};

    FAILS(send(tx, bad, 4, 0), EFAULT);
    FAILS(write(tx, bad, 4), EFAULT);
    FAILS(send(tx, bad, 200000, 0), EFAULT);
    FAILS(writev(tx, parts, 2), EFAULT);
    FAILS(sendmsg(tx, &header, 0), EFAULT);
    parts[1].iov_len = 200000;
    FAILS(writev(tx, parts, 2), EFAULT);
    parts[1].iov_len = 4;

    /* Nothing of it was sent, and a message is kept for a better buffer. */
    send_text(tx, "still here");
    EQUAL(ready(fd, POLLIN, 10000), POLLIN);
    FAILS(recv(fd, bad, 10, 0), EFAULT);
    FAILS(read(fd, bad, 10), EFAULT);
    FAILS(recv(fd, bad, 10, MSG_PEEK), EFAULT);
    FAILS(readv(fd, parts, 2), EFAULT);
    FAILS(recvmsg(fd, &header, 0), EFAULT);
    EXPECT_TEXT(fd, "still here");

    /* A long one travels in another way. */
    char *message = calloc(1, 300000);
    fill(message, 300000, 5);
    EQUAL(send(tx, message, 300000, 0), 300000);
    EQUAL(ready(fd, POLLIN, 10000), POLLIN);
    FAILS(recv(fd, bad, 300000, 0), EFAULT);
    memset(message, 0, 300000);
    EQUAL(recv(fd, message, 300000, 0), 300000);
    CHECK(matches(message, 300000, 5, 0));
    free(message);
}

static void bad_addresses(int rx, int tx, void *bad)
{
    struct sockaddr_in a;
    socklen_t len = sizeof(a);
    int fresh = pgm_socket(0);

    FAILS(bind(fresh, bad, sizeof(a)), EFAULT);
    FAILS(connect(fresh, bad, sizeof(a)), EFAULT);
    FAILS(getsockname(tx, bad, &len), EFAULT);
    FAILS(getsockname(tx, SA(a), bad), EFAULT);
    FAILS(getpeername(tx, bad, &len), EFAULT);
    FAILS(getpeername(tx, SA(a), bad), EFAULT);
    OK(fcntl(rx, F_SETFL, O_NONBLOCK));
    FAILS(accept(rx, SA(a), bad), EFAULT);
    OK(close(fresh));
}

static void too_long(int tx, int fd)
{
    static struct iovec many[1025];
    struct msghdr header = {.msg_iov = many};
    char *octets = mmap(NULL, (size_t)MOST + 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(octets != MAP_FAILED);
    FAILS(send(tx, octets, (size_t)MOST + 1, 0), EMSGSIZE);
    FAILS(write(tx, octets, (size_t)MOST + 1), EMSGSIZE);
    FAILS(send(tx, octets, (size_t)SSIZE_MAX + 1, 0), EINVAL);
    OK(munmap(octets, (size_t)MOST + 1));

    for (int i = 0; i < 1025; i++)
        many[i] = (struct iovec){(char *)"y", 1};
    header.msg_iovlen = 1025;
    FAILS(sendmsg(tx, &header, 0), EMSGSIZE);
    FAILS(recvmsg(fd, &header, 0), EMSGSIZE);
    FAILS(writev(tx, many, 1025), EINVAL);
    FAILS(readv(fd, many, 1025), EINVAL);
    FAILS(writev(tx, many, -1), EINVAL);
    header.msg_iovlen = 1024;
    EQUAL(sendmsg(tx, &header, 0), 1024);
    char text[1025];
    EQUAL(recv(fd, text, sizeof(text), 0), 1024);
    many[1].iov_len = (size_t)SSIZE_MAX;
    FAILS(writev(tx, many, 3), EINVAL);
    FAILS(readv(fd, many, 3), EINVAL);
    EQUAL(writev(tx, many, 0), 0);
    EQUAL(readv(fd, many, 0), 0);
}

/*
 * Long messages travel as files, so RLIMIT_FSIZE bounds them: EMSGSIZE and no signal for who sends one, and
 * for who would receive one a reset after all before it.
 */
static void send_limited(int tx, int fd)
{
    struct rlimit limit = {200000, RLIM_INFINITY};
    char *message = calloc(1, 300000);

    signal(SIGXFSZ, on_signal);
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    FAILS(send(tx, message, 200001, 0), EMSGSIZE);
    fill(message, 200000, 9);
    EQUAL(send(tx, message, 200000, 0), 200000);
    memset(message, 0, 200000);
    EQUAL(recv(fd, message, 300000, 0), 200000);
    CHECK(matches(message, 200000, 9, 0));
    limit.rlim_cur = 0;
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    FAILS(send(tx, message, 200000, 0), EMSGSIZE);
    EQUAL(send(tx, message, 128 << 10, 0), 128 << 10);
    EQUAL(recv(fd, message, 300000, 0), 128 << 10);
    EQUAL(signals, 0);
    free(message);
}

static void receive_limited(void *arg)
{
    struct rlimit limit = {200000, RLIM_INFINITY};
    static char buffer[300000];
    int *listening = arg, rx = listener(1);

    signal(SIGXFSZ, on_signal);
    OK(setrlimit(RLIMIT_FSIZE, &limit));
    tell(listening[1]);
    int fd = session(rx);
    EXPECT_TEXT(fd, "before");
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 150000);
    FAILS(recv(fd, buffer, sizeof(buffer), 0), ECONNRESET);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    EQUAL(signals, 0);
}

int main(void)
{
    static char message[300000];
    int listening[2];

    begin(60);
    OK(pipe(listening));
    pid_t receiver = child(60, receive_limited, listening);
    hear(listening[0]);
    int first = sender(1);
    send_text(first, "before");
    EQUAL(send(first, message, 150000, 0), 150000);
    EQUAL(send(first, message, 250000, 0), 250000);
    send_text(first, "after");
    CHILD_PASSED(receiver);
    OK(close(first));

    int rx = listener(0), tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    char *bad = nowhere();
    bad_buffers(tx, fd, bad);
    too_long(tx, fd);
    bad_addresses(rx, tx, bad);
    send_limited(tx, fd);
    return 0;
}
