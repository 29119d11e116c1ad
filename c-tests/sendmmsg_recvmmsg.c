/* Batches: sendmmsg sends n messages, recvmmsg receives n, waits for one or for a time. */
/* c-tests: variants=fortify3,asan */
#include "check.h"

enum { N = 20 };

int main(void)
{
    static char out[N][200], in[N][300];
    struct iovec parts[N];
    struct mmsghdr batch[N];
    struct timespec timeout;
    long long start;

    begin(30);
    int rx = listener(0), tx = sender(0);
    memset(batch, 0, sizeof(batch));
    for (int i = 0; i < N; i++) {
        fill(out[i], sizeof(out[i]), (uint32_t)i);
        parts[i] = (struct iovec){out[i], 100 + (size_t)i};
        batch[i].msg_hdr.msg_iov = &parts[i];
        batch[i].msg_hdr.msg_iovlen = 1;
    }
    EQUAL(sendmmsg(tx, batch, N, 0), N);
    for (int i = 0; i < N; i++)
        EQUAL(batch[i].msg_len, 100 + i);

    int fd = session(rx);
    for (int i = 0; i < N; i++)
        parts[i] = (struct iovec){in[i], sizeof(in[i])};
    EQUAL(recvmmsg(fd, batch, N, 0, NULL), N);
    for (int i = 0; i < N; i++) {
        EQUAL(batch[i].msg_len, 100 + i);
        CHECK(matches(in[i], 100 + (size_t)i, (uint32_t)i, 0));
        EQUAL(batch[i].msg_hdr.msg_flags & MSG_EOR, MSG_EOR);
    }

    FAILS(recvmmsg(fd, batch, N, MSG_DONTWAIT, NULL), EAGAIN);
    send_text(tx, "a");
    send_text(tx, "b");
    sleep_ms(300);
    EQUAL(recvmmsg(fd, batch, N, MSG_WAITFORONE, NULL), 2);
    send_text(tx, "c");
    sleep_ms(300);
    EQUAL(recvmmsg(fd, batch, 1, 0, NULL), 1);
    CHECK(in[0][0] == 'c');

    /* The timeout is looked at after each message, as the kernel does. */
    timeout = (struct timespec){0, 0};
    send_text(tx, "d");
    send_text(tx, "e");
    sleep_ms(300);
    start = now_ms();
    EQUAL(recvmmsg(fd, batch, N, 0, &timeout), 1);
    CHECK(now_ms() - start < 2000);
    EXPECT_TEXT(fd, "e");

    /* At the end there is nothing more to wait for. */
    send_text(tx, "f");
    OK(close(tx));
    sleep_ms(300);
    int n = (int)OK(recvmmsg(fd, batch, N, MSG_WAITFORONE, NULL));
    CHECK(n >= 1);
    EQUAL(batch[0].msg_len, 1);
    for (int i = 1; i < n; i++)
        EQUAL(batch[i].msg_len, 0);
    return 0;
}
