/* Many threads receive on one session and send on one sender: each message goes to one, whole. */
/* c-tests: variants=asan */
#include "check.h"
#include <pthread.h>

enum { THREADS = 4, EACH = 5000 };

static int rx_fd, tx_fd;
static unsigned char seen[THREADS][EACH];

static void *transmit(void *arg)
{
    uint32_t message[3] = {(uint32_t)(uintptr_t)arg, 0, 0};

    for (message[1] = 0; message[1] < EACH; message[1]++) {
        message[2] = message[0] ^ message[1];
        EQUAL(send(tx_fd, message, sizeof(message), 0), sizeof(message));
    }
    return NULL;
}

static void *receive(void *arg)
{
    uint32_t message[4];

    (void)arg;
    for (;;) {
        ssize_t n = recv(rx_fd, message, sizeof(message), 0);
        if (n == 0)
            return NULL;
        EQUAL(n, 12);
        CHECK(message[0] < THREADS && message[1] < EACH);
        EQUAL(message[2], message[0] ^ message[1]);
        EQUAL(__atomic_fetch_add(&seen[message[0]][message[1]], 1, __ATOMIC_SEQ_CST), 0);
    }
}

int main(void)
{
    pthread_t senders[THREADS], receivers[THREADS];

    begin(60);
    int rx = listener(0);
    tx_fd = sender(0);
    for (uintptr_t i = 0; i < THREADS; i++)
        EQUAL(pthread_create(&senders[i], NULL, transmit, (void *)i), 0);
    rx_fd = session(rx);
    for (int i = 0; i < THREADS; i++)
        EQUAL(pthread_create(&receivers[i], NULL, receive, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        EQUAL(pthread_join(senders[i], NULL), 0);
    OK(close(tx_fd));
    for (int i = 0; i < THREADS; i++)
        EQUAL(pthread_join(receivers[i], NULL), 0);
    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < EACH; j++)
            EQUAL(seen[i][j], 1);
    return 0;
}
