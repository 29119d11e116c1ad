/* sender GROUP PORT: each line of the input becomes a message. */
#include <arpa/inet.h>
#include <linux/pgm.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in group = {.sin_family = AF_INET};
    struct pgm_send_window window = {.rate_kbits_per_sec = 10000,
                                     .window_size_in_msecs = 5000};
    char line[4096];

    if (argc != 3 || inet_pton(AF_INET, argv[1], &group.sin_addr) != 1)
        return 2;
    group.sin_port = htons(atoi(argv[2]));

    /* In UDP: no privilege is needed. IPPROTO_PGM instead is native. */
    int fd = socket(AF_INET, SOCK_RDM, IPPROTO_UDP);
    if (fd == -1) {
        perror("socket");
        return 1;
    }
    /* 10 Mbit/s, and repairs for five seconds back. */
    if (setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window,
                   sizeof(window)) == -1)
        perror("RM_RATE_WINDOW_SIZE");
    if (connect(fd, (struct sockaddr *)&group, sizeof(group)) == -1) {
        perror("connect");
        return 1;
    }
    while (fgets(line, sizeof(line), stdin) != NULL)
        if (send(fd, line, strlen(line), 0) == -1) {
            perror("send");
            return 1;
        }
    close(fd); /* the end of the session: receivers read 0 */
    return 0;  /* and repairs are served until nobody asks any more */
}
