#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct Image {
    int width, height;
    std::vector<std::uint8_t> pixels;  // RGB, row by row
};

// Read a JPEG or PNG as the tagger does: upright, alpha over white; a JPEG at the smallest scale of at least 2 * side.
Image read_image(const std::string& file, int side);

// Resize to a square by a triangle filter, as Pillow's BILINEAR.
Image resize(const Image& image, int side);
