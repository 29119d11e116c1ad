/* Several senders on one group and port: each is a session of its own, with its own order and end. */
/* c-tests: variants=asan,valgrind */
#include "check.h"

enum { SENDERS = 5, MESSAGES = 50 };

int main(void)
{
    int tx[SENDERS], fd[SENDERS], who[SENDERS];
    char text[32], buffer[64];

    begin(40);
    int rx = listener(0);
    for (int s = 0; s < SENDERS; s++)
        tx[s] = sender(0);
    for (int m = 0; m < MESSAGES; m++)
        for (int s = 0; s < SENDERS; s++) {
            snprintf(text, sizeof(text), "sender %d message %d", s, m);
            send_text(tx[s], text);
        }
    for (int s = 0; s < SENDERS; s++) {
        fd[s] = session(rx);
        /* The address tells which sender it is. */
        struct sockaddr_in peer, local;
        socklen_t len = sizeof(peer);
        OK(getpeername(fd[s], SA(peer), &len));
        who[s] = -1;
        for (int t = 0; t < SENDERS; t++) {
            len = sizeof(local);
            OK(getsockname(tx[t], SA(local), &len));
            if (local.sin_port == peer.sin_port)
                who[s] = t;
        }
        CHECK(who[s] >= 0);
        for (int t = 0; t < s; t++)
            CHECK(who[t] != who[s]);
    }
    for (int m = 0; m < MESSAGES; m++)
        for (int s = 0; s < SENDERS; s++) {
            snprintf(text, sizeof(text), "sender %d message %d", who[s], m);
            EXPECT_TEXT(fd[s], text);
        }
    /* One sender's end is one session's end; the others and the listener go on. */
    OK(close(tx[who[0]]));
    EQUAL(recv(fd[0], buffer, sizeof(buffer), 0), 0);
    for (int s = 1; s < SENDERS; s++) {
        send_text(tx[who[s]], "goes on");
        EXPECT_TEXT(fd[s], "goes on");
    }
    OK(close(rx));
    send_text(tx[who[1]], "without the listener");
    EXPECT_TEXT(fd[1], "without the listener");
    return 0;
}
