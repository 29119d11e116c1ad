/* Long messages that wait to be sent are bounded by their octets, as short ones are. */
#include "check.h"

enum { SIZE = 1 << 20, MOST = 100 };

int main(void)
{
    struct pgm_send_window window = {1000, 0, 20000000}; /* 1 Mbit/s: none is sent soon */
    struct sockaddr_in a = group(0);
    char *message = malloc(SIZE);
    int n = 0;

    begin(30);
    setenv("PGM_LINGER", "off", 1);
    int tx = pgm_socket(SOCK_NONBLOCK);
    OK(setsockopt(tx, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    OK(connect(tx, SA(a), sizeof(a)));
    CHECK(message != NULL);
    fill(message, SIZE, 1);
    while (n < MOST && send(tx, message, SIZE, 0) == SIZE)
        n++;
    printf("%d messages of 1 MiB wait\n", n);
    if (n == MOST)
        FAIL("no end of it");
    EQUAL(errno, EAGAIN);
    CHECK(n >= 2);
    return 0;
}
