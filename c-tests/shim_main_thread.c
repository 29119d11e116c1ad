/* main ends by pthread_exit: the process ends with its last thread, and what that one sent arrives. */
#include "check.h"
#include <pthread.h>

enum { MESSAGES = 200, SIZE = 1300 };

static void *transmit(void *arg)
{
    char message[SIZE];
    int fd = *(int *)arg;

    sleep_ms(300); /* main has ended */
    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
    return NULL;
}

static void leave(void *arg)
{
    static int fd;
    pthread_t thread;

    hear(*(int *)arg);
    fd = sender(0);
    EQUAL(pthread_create(&thread, NULL, transmit, &fd), 0);
    pthread_exit(NULL);
}

int main(void)
{
    char message[SIZE + 1];
    int go[2], status;

    begin(30);
    OK(pipe(go));
    pid_t pid = child(20, leave, go);
    int rx = listener(0);
    tell(go[1]);
    int fd = session(rx);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        EQUAL(recv(fd, message, sizeof(message), 0), SIZE);
        CHECK(matches(message, SIZE, i, 0));
    }
    EQUAL(recv(fd, message, sizeof(message), 0), 0);
    for (long long end = now_ms() + 10000; now_ms() < end; sleep_ms(20))
        if (OK(waitpid(pid, &status, WNOHANG)) == pid) {
            EQUAL(status, 0);
            return 0;
        }
    kill(pid, SIGKILL);
    FAIL("the process did not end with its last thread");
}
