// The cuda backend on any machine: it loads without a driver, and says what is there or why nothing is.
#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <cstring>
#include <string>

namespace {

jd_error make_error() {
  jd_error error;
  std::memset(&error, 0, sizeof error);
  error.struct_size = sizeof error;
  return error;
}

TEST(CudaLoad, counts_devices_or_says_why_there_are_none) {
  jd_error error = make_error();
  int32_t count = -1;
  const jd_status status = jd_device_count("cuda", &count, &error);
  if (status == JD_OK) {
    EXPECT_GT(count, 0);
    return;
  }
  EXPECT_EQ(status, JD_NO_DEVICE);
  EXPECT_EQ(count, 0);
  const std::string message = error.message;
  // The library itself was found and loaded: whatever is missing is the driver's or the GPU's.
  EXPECT_EQ(message.find("cannot open shared object file: No such file or directory (looked in"), std::string::npos) << message;
  EXPECT_TRUE(message.find("libcuda.so.1") != std::string::npos || message.find("CUDA") != std::string::npos) << message;
  printf("%s\n", message.c_str());
}

TEST(CudaLoad, opening_an_absent_device_says_the_same) {
  jd_error error = make_error();
  int32_t count = 0;
  jd_device_count("cuda", &count, nullptr);
  const std::string name = "cuda:" + std::to_string(count);
  jd_device device = 7;
  EXPECT_EQ(jd_device_open(name.c_str(), nullptr, &device, &error), JD_NO_DEVICE);
  EXPECT_EQ(device, jd_device{0});
  EXPECT_NE(std::string(error.message), "");
}

TEST(CudaLoad, asking_again_gives_the_same_answer) {
  jd_error first = make_error(), second = make_error();
  int32_t count = 0, again = 0;
  EXPECT_EQ(jd_device_count("cuda", &count, &first), jd_device_count("cuda", &again, &second));
  EXPECT_EQ(count, again);
  EXPECT_STREQ(first.message, second.message);
}

}  // namespace
