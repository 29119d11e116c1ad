/*
 * Sessions wait for accept: more than the backlog says, since nobody would repeat what a refused session
 * sent. Listening again is fine at any time, and sessions outlive their listener.
 */
#include "check.h"

enum { SENDERS = 120 };

static int tx[SENDERS], fd[SENDERS];

static void wait_all(int rx)
{
    char seen[SENDERS] = {0}, text[16];

    for (int i = 0; i < SENDERS; i++) {
        fd[i] = session(rx);
        ssize_t n = OK(recv(fd[i], text, sizeof(text) - 1, 0));
        text[n] = 0;
        int who = atoi(text);
        CHECK(who >= 0 && who < SENDERS && !seen[who]);
        seen[who] = 1;
    }
    EQUAL(ready(rx, POLLIN, 100), 0);
}

int main(void)
{
    struct sockaddr_in a = group(0);
    char text[16];

    begin(80);
    int rx = pgm_socket(0);
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));
    for (int i = 0; i < SENDERS; i++) {
        tx[i] = sender(0);
        snprintf(text, sizeof(text), "%d", i);
        send_text(tx[i], text);
    }
    EQUAL(ready(rx, POLLIN, 10000), POLLIN);
    OK(listen(rx, 0)); /* while sessions wait */
    wait_all(rx);

    /* After a session ended, and with whatever backlog. */
    OK(close(tx[0]));
    for (int i = 0; i < SENDERS; i++)
        if (i != 0)
            OK(close(tx[i]));
    for (int i = 0; i < SENDERS; i++) {
        EQUAL(recv(fd[i], text, sizeof(text), 0), 0);
        OK(close(fd[i]));
    }
    OK(listen(rx, -1));
    OK(listen(rx, 1 << 20));
    tx[0] = sender(0);
    send_text(tx[0], "one more");
    fd[0] = session(rx);
    EXPECT_TEXT(fd[0], "one more");

    /* Without its listener a session goes on; sessions that nobody accepted end with the listener. */
    tx[1] = sender(0);
    send_text(tx[1], "never accepted");
    EQUAL(ready(rx, POLLIN, 10000), POLLIN);
    OK(close(rx));
    for (int i = 0; i < 20; i++) {
        send_text(tx[0], "goes on");
        EXPECT_TEXT(fd[0], "goes on");
    }
    OK(close(tx[0]));
    EQUAL(recv(fd[0], text, sizeof(text), 0), 0);

    /* The group can be bound again, and what is new is heard. */
    rx = listener(0);
    tx[2] = sender(0);
    send_text(tx[2], "new");
    for (int i = 0; i < 2 * SENDERS; i++) {
        /* A new listener may be given senders that have just closed, too. */
        fd[1] = session(rx);
        ssize_t n = OK(recv(fd[1], text, sizeof(text), 0));
        if (n == 3 && memcmp(text, "new", 3) == 0)
            return 0;
        OK(close(fd[1]));
    }
    FAIL("the new sender was not heard");
}
