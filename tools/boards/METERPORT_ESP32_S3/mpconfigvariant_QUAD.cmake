# Quad PSRAM: mpconfigboard.cmake looks for this variant's name.
