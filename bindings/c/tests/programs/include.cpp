// The header in C++11: functions link with C names, structs and enums are types of C++.
#include <rmnet.h>
#include <rmnet.h> // twice is once
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

struct Free {
    void operator()(rmnet_session *session) const { rmnet_session_free(session); }
};

std::vector<float> run(const std::string &path, const std::vector<float> &input)
{
    rmnet_options options = rmnet_options_default();
    options.precision = RMNET_F16;
    options.device = "cpu";
    rmnet_session *opened = nullptr;
    if (rmnet_session_open(path.c_str(), &options, &opened) != RMNET_OK)
        throw std::runtime_error(rmnet_last_error());
    std::unique_ptr<rmnet_session, Free> session(opened);
    std::vector<float> output(rmnet_session_output_len(session.get(), 1));
    const rmnet_status status =
        rmnet_session_run(session.get(), input.data(), input.size(), output.data(), output.size());
    if (status == RMNET_ERROR_USAGE)
        throw std::invalid_argument(rmnet_last_error());
    return output;
}
