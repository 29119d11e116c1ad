/* Two senders and two receivers in one process on one group: each receiver gets both, whole. */
/* c-tests: variants=asan */
#include "check.h"

enum { MESSAGES = 200 };

int main(void)
{
    int rx[2], tx[2], fd[2][2];
    char text[32], buffer[64];

    begin(40);
    for (int i = 0; i < 2; i++)
        rx[i] = listener(0);
    for (int i = 0; i < 2; i++)
        tx[i] = sender(0);
    for (int m = 0; m < MESSAGES; m++)
        for (int s = 0; s < 2; s++) {
            snprintf(text, sizeof(text), "%d %d", s, m);
            send_text(tx[s], text);
        }
    for (int r = 0; r < 2; r++)
        for (int s = 0; s < 2; s++)
            fd[r][s] = session(rx[r]);
    for (int r = 0; r < 2; r++)
        for (int s = 0; s < 2; s++) {
            int who = -1, got_who, got_m;
            for (int m = 0; m < MESSAGES; m++) {
                ssize_t n = OK(recv(fd[r][s], buffer, sizeof(buffer) - 1, 0));
                buffer[n] = 0;
                EQUAL(sscanf(buffer, "%d %d", &got_who, &got_m), 2);
                if (m == 0)
                    who = got_who;
                EQUAL(got_who, who);
                EQUAL(got_m, m);
            }
        }
    for (int s = 0; s < 2; s++)
        OK(close(tx[s]));
    for (int r = 0; r < 2; r++)
        for (int s = 0; s < 2; s++)
            EQUAL(recv(fd[r][s], buffer, sizeof(buffer), 0), 0);
    return 0;
}
