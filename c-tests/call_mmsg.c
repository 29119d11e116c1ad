/* recvmmsg and sendmmsg: counts, partial counts, timeouts and errors in the middle, as Linux has them. */
#include "check.h"

enum { MOST = 8 };

static char room[MOST][32];
static struct iovec parts[MOST];
static struct mmsghdr batch[MOST];

static struct mmsghdr *fresh(size_t size)
{
    memset(batch, 0, sizeof(batch));
    for (int i = 0; i < MOST; i++) {
        parts[i] = (struct iovec){room[i], size};
        batch[i].msg_hdr.msg_iov = &parts[i];
        batch[i].msg_hdr.msg_iovlen = 1;
        batch[i].msg_len = 4711;
    }
    return batch;
}

static void send_numbers(int tx, int from, int to)
{
    char text[8];

    for (int i = from; i < to; i++) {
        snprintf(text, sizeof(text), "%d", i);
        send_text(tx, text);
    }
}

/* Message `i` of the batch is number `n`. */
static void is_number(int i, int n)
{
    char text[8];

    snprintf(text, sizeof(text), "%d", n);
    EQUAL(batch[i].msg_len, strlen(text));
    CHECK(memcmp(room[i], text, strlen(text)) == 0);
    EQUAL(batch[i].msg_hdr.msg_flags & MSG_EOR, MSG_EOR);
}

/* All of `count` one-digit messages are there. */
static void all_there(int fd, int count)
{
    long long start = now_ms();
    int bytes = 0;

    /* FIONREAD tells of one message only: wait by peeking is not possible, so let time pass. */
    (void)count;
    do {
        sleep_ms(20);
        OK(ioctl(fd, FIONREAD, &bytes));
        CHECK(now_ms() - start < 10000);
    } while (bytes == 0);
    sleep_ms(200);
}

static void receive(int fd, int tx)
{
    struct timespec t = {5, 0};

    /* MSG_DONTWAIT: what is there, then EAGAIN. */
    FAILS(recvmmsg(fd, fresh(32), MOST, MSG_DONTWAIT, NULL), EAGAIN);
    send_numbers(tx, 0, 3);
    all_there(fd, 3);
    EQUAL(recvmmsg(fd, fresh(32), MOST, MSG_DONTWAIT, NULL), 3);
    for (int i = 0; i < 3; i++)
        is_number(i, i);
    EQUAL(batch[3].msg_len, 4711);

    /* MSG_WAITFORONE waits for the first and no other. */
    send_numbers(tx, 3, 5);
    all_there(fd, 2);
    EQUAL(recvmmsg(fd, fresh(32), MOST, MSG_WAITFORONE, NULL), 2);
    is_number(0, 3);
    is_number(1, 4);

    /* Not more than was asked for; none is none. */
    send_numbers(tx, 0, 4);
    EQUAL(recvmmsg(fd, fresh(32), 2, 0, NULL), 2);
    EQUAL(recvmmsg(fd, fresh(32), 0, 0, NULL), 0);
    EQUAL(recvmmsg(fd, fresh(32), 2, 0, &t), 2);
    is_number(0, 2);
    is_number(1, 3);
    /* What is left of the timeout is written back. */
    CHECK(t.tv_sec < 5 && t.tv_nsec > 0);

    /* The timeout is looked at between messages: a zero one lets one message through. */
    send_numbers(tx, 0, 3);
    t = (struct timespec){0, 0};
    EQUAL(recvmmsg(fd, fresh(32), MOST, 0, &t), 1);
    t = (struct timespec){0, 1000000000};
    FAILS(recvmmsg(fd, fresh(32), MOST, 0, &t), EINVAL);
    t = (struct timespec){-1, 0};
    FAILS(recvmmsg(fd, fresh(32), MOST, 0, &t), EINVAL);
    EXPECT_TEXT(fd, "1");
    EXPECT_TEXT(fd, "2");

    /* A short buffer gets a part, and the next one the rest. */
    send_text(tx, "abcdef");
    EQUAL(recvmmsg(fd, fresh(4), MOST, MSG_WAITFORONE, NULL), 2);
    EQUAL(batch[0].msg_len, 4);
    EQUAL(batch[0].msg_hdr.msg_flags & MSG_EOR, 0);
    EQUAL(batch[1].msg_len, 2);
    EQUAL(batch[1].msg_hdr.msg_flags & MSG_EOR, MSG_EOR);

    /* An error after the first message: the count now, the error with the next call. */
    send_numbers(tx, 0, 2);
    all_there(fd, 2);
    fresh(32);
    batch[1].msg_hdr.msg_iov = NULL;
    EQUAL(recvmmsg(fd, batch, MOST, 0, NULL), 1);
    EXPECT_TEXT(fd, "1");
}

static void transmit(int fd, int tx)
{
    for (int i = 0; i < MOST; i++)
        snprintf(room[i], sizeof(room[i]), "%d", i);
    fresh(1);
    EQUAL(sendmmsg(tx, batch, MOST, 0), MOST);
    for (int i = 0; i < MOST; i++) {
        EQUAL(batch[i].msg_len, 1);
        char digit[2] = {(char)('0' + i), 0};
        EXPECT_TEXT(fd, digit);
    }
    EQUAL(sendmmsg(tx, batch, 0, 0), 0);
    /* A message that cannot be sent ends the batch, and is the error of the next. */
    fresh(1);
    batch[2].msg_hdr.msg_iov = NULL;
    EQUAL(sendmmsg(tx, batch, MOST, 0), 2);
    EQUAL(batch[2].msg_len, 4711);
    FAILS(sendmmsg(tx, batch + 2, 1, 0), EFAULT);
    EXPECT_TEXT(fd, "0");
    EXPECT_TEXT(fd, "1");
}

int main(void)
{
    struct timespec t = {5, 0};

    begin(40);
    signal(SIGPIPE, SIG_IGN);
    int rx = listener(0), tx = sender(0);
    send_text(tx, "first");
    int fd = session(rx);
    EXPECT_TEXT(fd, "first");
    receive(fd, tx);
    transmit(fd, tx);

    /* The end: what is there, then 0, which ends the batch. */
    send_numbers(tx, 0, 2);
    OK(shutdown(tx, SHUT_WR));
    FAILS(sendmmsg(tx, fresh(1), 1, 0), EPIPE);
    EQUAL(ready(fd, POLLRDHUP, 10000), POLLRDHUP);
    EQUAL(recvmmsg(fd, fresh(32), MOST, 0, &t), 3);
    is_number(0, 0);
    is_number(1, 1);
    EQUAL(batch[2].msg_len, 0);
    return 0;
}
