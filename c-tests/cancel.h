/* For tests that cancel threads. Include it after check.h. */
#ifndef CANCEL_H
#define CANCEL_H

#include <pthread.h>

static int cleaned;

/* What a body pushes as its cleanup handler. */
HELPER void clean(void *arg)
{
    (void)arg;
    cleaned++;
}

/* Start `waiting(&fd)`, let it come to wait, and cancel it: it is unwound. */
HELPER void cancel(void *(*waiting)(void *), int fd)
{
    pthread_t thread;
    void *result;

    cleaned = 0;
    EQUAL(pthread_create(&thread, NULL, waiting, &fd), 0);
    sleep_ms(150);
    EQUAL(pthread_cancel(thread), 0);
    EQUAL(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    EQUAL(cleaned, 1);
}

#endif
