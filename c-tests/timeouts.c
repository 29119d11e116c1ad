/* SO_RCVTIMEO bounds accept and recv, SO_SNDTIMEO bounds send; both end with EAGAIN. */
#include "check.h"

static void set_timeout(int fd, int option, int ms)
{
    struct timeval t = {ms / 1000, ms % 1000 * 1000}, got;
    socklen_t len = sizeof(got);

    OK(setsockopt(fd, SOL_SOCKET, option, &t, sizeof(t)));
    OK(getsockopt(fd, SOL_SOCKET, option, &got, &len));
    EQUAL(len, sizeof(got));
    CHECK(labs((long)got.tv_usec - (long)t.tv_usec) <= 10000);
    EQUAL(got.tv_sec, t.tv_sec);
}

static void took(long long start, int at_least)
{
    long long ms = now_ms() - start;
    if (ms < at_least - 15 || ms > at_least + 3000)
        FAIL("took %lld ms, expected %d", ms, at_least);
}

int main(void)
{
    struct pgm_send_window window = {1000, 0, 100000};
    struct sockaddr_in a = group(1);
    char message[1400];
    long long start;

    begin(40);
    setenv("PGM_LINGER", "off", 1); /* what is still queued at the end does not matter */
    /* What is queued below would take more than a minute to leave. */
    setenv("PGM_LINGER", "off", 1);
    int rx = listener(0);
    set_timeout(rx, SO_RCVTIMEO, 200);
    start = now_ms();
    FAILS(accept(rx, NULL, NULL), EAGAIN);
    took(start, 200);

    int tx = sender(0);
    send_text(tx, "x");
    int fd = session(rx);
    EXPECT_TEXT(fd, "x");
    set_timeout(fd, SO_RCVTIMEO, 150);
    start = now_ms();
    FAILS(recv(fd, message, sizeof(message), 0), EAGAIN);
    took(start, 150);
    start = now_ms();
    FAILS(read(fd, message, sizeof(message)), EAGAIN);
    took(start, 150);
    send_text(tx, "y");
    EXPECT_TEXT(fd, "y");

    /* 10 messages a second fit: a send soon has to wait longer than 30 ms. */
    int slow = pgm_socket(0);
    window.rate_kbits_per_sec = 100;
    OK(setsockopt(slow, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(slow, SA(a), sizeof(a)));
    set_timeout(slow, SO_SNDTIMEO, 30);
    fill(message, sizeof(message), 1);
    ssize_t sent;
    long long begun = now_ms();
    do {
        start = now_ms();
        errno = 0;
        sent = send(slow, message, sizeof(message), 0);
        CHECK(now_ms() - begun < 15000);
    } while (sent == (ssize_t)sizeof(message));
    EQUAL(sent, -1);
    EQUAL(errno, EAGAIN);
    took(start, 30);
    return 0;
}
