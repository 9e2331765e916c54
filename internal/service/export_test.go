package service

// SoundTime is what the sweep goes by.
var SoundTime = (*Service).soundTime
