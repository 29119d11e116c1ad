/* A reader that sleeps loses nothing that the windows can hold; another session is not held up. */
#include "check.h"

enum { MESSAGES = 3000, SIZE = 1400 };

int main(void)
{
    static char message[SIZE], buffer[SIZE + 1];

    begin(60);
    int rx = listener(0), tx = sender(0);
    int other_rx = listener(1), other_tx = sender(1);
    send_text(other_tx, "x");
    int other = session(other_rx);
    EXPECT_TEXT(other, "x");
    for (int i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, (uint32_t)i);
        EQUAL(send(tx, message, SIZE, 0), SIZE);
    }
    int fd = session(rx);
    sleep_ms(1500);
    long long start = now_ms();
    send_text(other_tx, "in time");
    EXPECT_TEXT(other, "in time");
    CHECK(now_ms() - start < 1000);
    for (int i = 0; i < MESSAGES; i++) {
        if (i % 500 == 0)
            sleep_ms(100);
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), SIZE);
        if (!matches(buffer, SIZE, (uint32_t)i, 0))
            FAIL("message %d is wrong", i);
    }
    OK(close(tx));
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), 0);
    return 0;
}
