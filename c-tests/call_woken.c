/* A call that waits is woken by shutdown from another thread; a close does it no harm. */
#include "check.h"
#include <pthread.h>

enum call { RECV, READ, PEEK, RECVMMSG, ACCEPT };

struct waiting {
    enum call call;
    int fd;
    long result;
    int error;
    volatile int started, done;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct waiting *w = arg;
    char buffer[16];
    struct iovec part = {buffer, sizeof(buffer)};
    struct mmsghdr batch = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};

    w->started = 1;
    switch (w->call) {
    case RECV:
        w->result = recv(w->fd, buffer, sizeof(buffer), 0);
        break;
    case READ:
        w->result = read(w->fd, buffer, sizeof(buffer));
        break;
    case PEEK:
        w->result = recv(w->fd, buffer, sizeof(buffer), MSG_PEEK);
        break;
    case RECVMMSG:
        w->result = recvmmsg(w->fd, &batch, 1, 0, NULL);
        break;
    case ACCEPT:
        w->result = accept(w->fd, NULL, NULL);
        break;
    }
    w->error = errno;
    w->done = 1;
    return NULL;
}

static void start(struct waiting *w, enum call call, int fd)
{
    memset(w, 0, sizeof(*w));
    w->call = call;
    w->fd = fd;
    EQUAL(pthread_create(&w->thread, NULL, run, w), 0);
    while (!w->started)
        sleep_ms(1);
    sleep_ms(100); /* it waits now; if not, the test shows less */
    EQUAL(w->done, 0);
}

static int tx;

static int new_session(int rx)
{
    tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    return fd;
}

int main(void)
{
    struct waiting w[2];
    char buffer[16];
    static const int hows[] = {SHUT_RD, SHUT_RDWR};

    begin(60);
    int rx = listener(0);
    for (int h = 0; h < 2; h++)
        for (enum call call = RECV; call <= RECVMMSG; call++) {
            int fd = new_session(rx);
            /* Two of them: both wake. */
            for (int i = 0; i < 2; i++)
                start(&w[i], call, fd);
            OK(shutdown(fd, hows[h]));
            for (int i = 0; i < 2; i++) {
                EQUAL(pthread_join(w[i].thread, NULL), 0);
                EQUAL(w[i].result, call == RECVMMSG ? 1 : 0);
            }
            OK(close(fd));
            OK(close(tx));
        }

    /* Accept, as TCP: EINVAL, and again. */
    for (int h = 0; h < 2; h++) {
        int shut = listener(1 + h);
        for (int i = 0; i < 2; i++)
            start(&w[i], ACCEPT, shut);
        OK(shutdown(shut, hows[h]));
        for (int i = 0; i < 2; i++) {
            EQUAL(pthread_join(w[i].thread, NULL), 0);
            EQUAL(w[i].result, -1);
            EQUAL(w[i].error, EINVAL);
        }
        FAILS(accept(shut, NULL, NULL), EINVAL);
        OK(close(shut));
    }

    /*
     * Close wakes nobody, as on Linux. When the call wakes for another reason the number may be somebody
     * else's: it must not touch that.
     */
    int fd = new_session(rx), ends[2];
    start(&w[0], RECV, fd);
    OK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
    EQUAL(write(ends[1], "not for PGM", 11), 11);
    OK(dup2(ends[0], fd));
    send_text(tx, "wake up");
    OK(close(tx));
    EQUAL(pthread_join(w[0].thread, NULL), 0);
    printf("recv on a closed number: %ld %s\n", w[0].result, errno_text(w[0].error));
    CHECK(w[0].result == 7 || (w[0].result == -1 && w[0].error == EBADF));
    EQUAL(read(fd, buffer, sizeof(buffer)), 11);
    CHECK(memcmp(buffer, "not for PGM", 11) == 0);
    OK(close(fd));

    /* The same for accept, and the number becomes another session. */
    int closing = listener(3);
    start(&w[0], ACCEPT, closing);
    fd = new_session(rx);
    OK(dup2(fd, closing));
    int waker = sender(3);
    send_text(waker, "wake up");
    send_text(tx, "for the session");
    EXPECT_TEXT(closing, "for the session");
    /* The listener lives as long as the call that waits on it. */
    EQUAL(pthread_join(w[0].thread, NULL), 0);
    if (w[0].result == -1)
        EQUAL(w[0].error, EBADF);
    send_text(tx, "still");
    EXPECT_TEXT(fd, "still");
    return 0;
}
