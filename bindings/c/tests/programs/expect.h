/* Assertions of the test programs, which say what was found and end the program. */
#ifndef EXPECT_H
#define EXPECT_H
#include <rmnet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                             \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, rmnet_last_error()); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* Makes another message the last one, so that a call which keeps none is found out. */
static inline void other_message(void)
{
    rmnet_image *none = NULL;
    EXPECT(rmnet_image_decode("", 1, 77777, 0, &none) == RMNET_ERROR_USAGE);
}

/* A call that fails with this status, and with a message of its own that holds this text. */
#define REFUSED(call, expected, text)                                                 \
    do {                                                                              \
        int found_;                                                                   \
        other_message();                                                              \
        found_ = (int)(call);                                                         \
        if (found_ != (int)(expected) || !strstr(rmnet_last_error(), text) || strstr(rmnet_last_error(), "77777")) { \
            fprintf(stderr, "%s:%d: %s is %d, expected %d; message: %s, expected: %s\n", __FILE__, __LINE__, \
                    #call, found_, (int)(expected), rmnet_last_error(), text);        \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

static inline float *floats(size_t count, float value)
{
    size_t i;
    float *values = malloc(count * sizeof *values);
    EXPECT(values);
    for (i = 0; i < count; i++)
        values[i] = value;
    return values;
}

/* The bytes of a file, with a NUL behind them. */
static inline char *contents(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    char *bytes;
    EXPECT(file);
    EXPECT(fseek(file, 0, SEEK_END) == 0);
    *len = (size_t)ftell(file);
    rewind(file);
    bytes = malloc(*len + 1);
    EXPECT(bytes && fread(bytes, 1, *len, file) == *len);
    bytes[*len] = '\0';
    fclose(file);
    return bytes;
}
#endif
