/* self_tests CHECKPOINT DEVICE FILE: FILE, which does not exist yet, keeps the results of self-tests, and kernels that it
 * says are wrong are left out. */
#include "expect.h"

static const char *checkpoint;

static rmnet_session *opened(const rmnet_options *options)
{
    rmnet_session *session = NULL;
    EXPECT(rmnet_session_open(checkpoint, options, &session) == RMNET_OK);
    return session;
}

/* Writes into the file that a kernel is wrong, as another process would: one of software Vulkan, which others can take the
 * place of. Gives 0 where there is no such kernel. */
static int plant(const char *path)
{
    static const char fault[] = "\"wrong\": \"a planted fault\", ";
    size_t len, before;
    char *text = contents(path, &len), *kernel = strstr(text, "\"kernel\": \"software-winograd");
    FILE *file;
    EXPECT(strstr(text, "\"kernel\""));
    if (!kernel) {
        free(text);
        return 0;
    }
    file = fopen(path, "wb");
    EXPECT(file);
    before = (size_t)(kernel - text);
    EXPECT(fwrite(text, 1, before, file) == before && fwrite(fault, 1, sizeof fault - 1, file) == sizeof fault - 1);
    EXPECT(fwrite(kernel, 1, len - before, file) == len - before && fclose(file) == 0);
    free(text);
    return 1;
}

static void on_gpu(rmnet_options options)
{
    const char *path = options.self_test_record_path;
    size_t len, skipped_len;
    char *text, *skipped;
    rmnet_session *session;
    if (!plant(path))
        return;
    session = opened(&options);
    EXPECT(rmnet_session_quarantined_count(session) == 1 && rmnet_session_quarantined(session, 1) == NULL);
    EXPECT(strstr(rmnet_session_quarantined(session, 0), "kernels wrong in f32, so they are not used"));
    EXPECT(strstr(rmnet_session_quarantined(session, 0), "a planted fault"));
    rmnet_session_free(session);

    /* Without self-tests nothing is left out, and the file is left alone. */
    text = contents(path, &len);
    options.skip_self_test = 1;
    session = opened(&options);
    EXPECT(rmnet_session_quarantined_count(session) == 0);
    rmnet_session_free(session);
    skipped = contents(path, &skipped_len);
    EXPECT(skipped_len == len && memcmp(skipped, text, len) == 0);
    free(text);
    free(skipped);
}

int main(int argc, char **argv)
{
    rmnet_options options = rmnet_options_default();
    rmnet_session *session;
    FILE *file;
    EXPECT(argc == 4);
    checkpoint = argv[1];
    options.device = argv[2];
    options.self_test_record_path = argv[3];
    session = opened(&options);
    EXPECT(rmnet_session_quarantined_count(session) == 0 && rmnet_session_quarantined(session, 0) == NULL);
    EXPECT(rmnet_session_quarantined_count(NULL) == 0 && rmnet_session_quarantined(NULL, 0) == NULL);
    if (rmnet_session_is_on_gpu(session)) {
        on_gpu(options);
    } else {
        file = fopen(argv[3], "rb"); /* nothing was tested */
        EXPECT(!file);
    }
    rmnet_session_free(session);
    options.self_test_record_path = "/";
    REFUSED(rmnet_session_open(checkpoint, &options, &session), RMNET_ERROR_INPUT, "options.self_test_record_path: /: ");
    puts("kept");
    return 0;
}
