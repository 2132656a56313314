package app

import "C" // for bounding.c
